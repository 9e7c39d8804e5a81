# SPDX-License-Identifier: Apache-2.0
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geodrop.compile.opening import open_database, open_policy
from geodrop.config import load_config
from geodrop.errors import GeodropError
from geodrop.inputs import open_beneath, open_regular, read_regular
from geodrop.ruleset import container
from tests.support.descriptors import left_open, open_descriptors


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "FIFO": (os.mkfifo, "a FIFO"),
    "directory": (os.mkdir, "a directory"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "terminal": (lambda path: path.symlink_to("/dev/ptmx"), "a device"),
    "socket": (_socket, "a socket"),
}
"""What a name may lead to instead of a file: how to create it, and its name in messages."""


def _beneath(path: Path) -> int:
    folder = os.open(path.parent, os.O_PATH)
    try:
        return open_beneath(folder, path.name)
    finally:
        os.close(folder)


OPENERS: dict[str, Callable[[Path], object]] = {
    "policy": lambda path: open_policy(str(path)),
    "database": lambda path: open_database(str(path)),
    "list": _beneath,
    "ruleset": container.open_file,
    "agent.yaml": lambda path: load_config(str(path)),
    "any": open_regular,
}
"""Every function that opens an input by name."""


def within_a_minute(work: Callable[[], object]) -> object:
    """Return the result or exception of a call; fail if it waits for something."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except (OSError, GeodropError) as failure:
            outcome.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert outcome, "it still waits"
    return outcome[0]


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("opener", OPENERS)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, opener: str, kind: str) -> None:
    """Whatever an input's name leads to, nothing waits, no device is opened, and the message says what it is."""
    make, called = OTHERS[kind]
    path = tmp_path / "input"
    make(path)
    before = open_descriptors()
    failure = within_a_minute(lambda: OPENERS[opener](path))
    assert isinstance(failure, OSError | GeodropError)
    outside = opener == "list" and path.is_symlink()
    assert ("leads out of the folder" if outside else f"is {called}, not a regular file") in str(failure)
    assert not left_open(before)


def test_a_file_that_never_ends() -> None:
    """A kernel file that is regular by its mode but would wait for data gives an error instead."""
    failure = within_a_minute(lambda: read_regular("/proc/kmsg", 1 << 16))
    assert isinstance(failure, OSError | bytes)


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A file with exactly the limit is read; one more byte is refused, whatever size the file reports."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_regular(path, 1000) == b"x" * 1000
    with pytest.raises(OSError, match="is longer than 999 bytes"):
        read_regular(path, 999)
    with pytest.raises(OSError, match="is longer than 10 bytes"):
        read_regular("/proc/self/status", 10)  # it reports size 0


def test_links_are_followed_where_wanted(tmp_path: Path) -> None:
    """Links are followed in names given by an operator, and not with `follow` False."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 10) == b"x"
    with pytest.raises(OSError, match="is a symbolic link"):
        open_regular(tmp_path / "link", follow=False)


def test_a_memory_file_is_a_file() -> None:
    """A memfd, as the compile child writes it, can be opened by the /proc name of its descriptor."""
    descriptor = os.memfd_create("ruleset")
    os.write(descriptor, b"content")
    assert read_regular(f"/proc/self/fd/{descriptor}", 10) == b"content"
    os.close(descriptor)


def test_who_may_not_read_is_told_which_file(tmp_path: Path) -> None:
    """The error names the file, not a descriptor."""
    with pytest.raises(FileNotFoundError) as caught:
        open_regular(tmp_path / "none")
    assert str(tmp_path / "none") in str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """Return a descriptor of a policy's folder, with a secret and a FIFO beside and inside it."""
    inside = tmp_path / "policy"
    (inside / "lists").mkdir(parents=True)
    (inside / "lists" / "a.txt").write_text("1.2.3.4\n")
    (inside / "..2026_11_28").mkdir()
    (inside / "..2026_11_28" / "b.txt").write_text("5.6.7.8\n")
    (inside / "..data").symlink_to("..2026_11_28")
    (inside / "b.txt").symlink_to("..data/b.txt")
    (inside / "lists" / "up.txt").symlink_to("../lists/a.txt")
    (tmp_path / "secret").write_text("secret")
    (inside / "link").symlink_to("../secret")
    (inside / "absolute").symlink_to(inside / "lists" / "a.txt")
    (inside / "magic").symlink_to("/proc/self/fd/0")
    (inside / "out").symlink_to(tmp_path)
    (inside / "loop").symlink_to("loop")
    (inside / "hanging").symlink_to("none")
    os.mkfifo(inside / "pipe")
    (inside / "to-pipe").symlink_to("pipe")
    descriptor = os.open(inside, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lists/a.txt", "1.2.3.4\n"),
        ("lists/up.txt", "1.2.3.4\n"),
        ("b.txt", "5.6.7.8\n"),
        ("..data/b.txt", "5.6.7.8\n"),
        ("lists/../..data//./b.txt", "5.6.7.8\n"),
    ],
)
def test_links_inside_the_folder_are_followed(folder: int, name: str, content: str) -> None:
    """A list below the policy's folder is opened, also through links like those of a mounted ConfigMap."""
    with open(open_beneath(folder, name)) as file:
        assert file.read() == content


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret", "leads out of the folder"),
        ("lists/../../secret", "leads out of the folder"),
        ("/etc/passwd", "leads out of the folder"),
        ("link", "leads out of the folder"),
        ("absolute", "leads out of the folder"),
        ("magic", "leads out of the folder"),
        ("out/secret", "leads out of the folder"),
        ("loop", "Too many levels"),
        ("hanging", "No such file"),
        (".", "is a directory"),
        ("lists/", "is a directory"),
        ("lists/..", "is a directory"),
        ("lists/a.txt/", "Not a directory"),
        ("lists/a.txt/../a.txt", "Not a directory"),
        ("pipe", "is a FIFO"),
        ("to-pipe", "is a FIFO"),
        ("", "No such file"),
        ("b.txt\0", "not the name of a file"),
    ],
)
def test_no_name_leads_outside(folder: int, name: str, reason: str) -> None:
    """Root opens nothing outside the policy's folder, whatever the child asks for and wherever links lead."""
    before = open_descriptors()
    with pytest.raises(OSError, match=reason):
        open_beneath(folder, name)
    assert not left_open(before)


def test_a_link_that_changes_meanwhile_never_leads_outside(tmp_path: Path) -> None:
    """While a link is switched between inside and outside of the folder, only the file inside is ever opened."""
    inside = tmp_path / "policy"
    (inside / "a").mkdir(parents=True)
    (inside / "a" / "list").write_text("inside")
    (tmp_path / "list").write_text("secret")
    stop = threading.Event()

    def turn() -> None:
        while not stop.is_set():
            for target in ("a", ".."):
                (inside / "next").symlink_to(target)
                (inside / "next").rename(inside / "data")

    (inside / "data").symlink_to("a")
    thread = threading.Thread(target=turn)
    thread.start()
    found = set()
    descriptor = os.open(inside, os.O_PATH | os.O_DIRECTORY)
    try:
        for _ in range(3_000):
            try:
                with open(open_beneath(descriptor, "data/list")) as file:
                    found.add(file.read())
            except OSError:
                found.add("nothing")
    finally:
        stop.set()
        thread.join()
        os.close(descriptor)
    assert found <= {"inside", "nothing"}
    assert "inside" in found
