import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from geodrop.compile.opening import open_beneath, open_database, open_policy
from geodrop.config import load_config
from geodrop.errors import GeodropError
from geodrop.inputs import open_regular, read_regular
from geodrop.ruleset import container


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
"""What a name may lead to in place of a file: how to make it, and what it is called."""


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
"""Every way in which a name becomes an input."""


def within_a_minute(work: Callable[[], object]) -> object:
    """What it gives or raises; fails where it waits for something."""
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
    """Whatever an input's name leads to, nobody waits, no device is opened, and the message says what it is."""
    make, called = OTHERS[kind]
    path = tmp_path / "input"
    make(path)
    before = set(os.listdir("/proc/self/fd"))
    failure = within_a_minute(lambda: OPENERS[opener](path))
    assert isinstance(failure, OSError | GeodropError)
    followed = "a symbolic link" if opener == "list" and path.is_symlink() else called
    assert f"is {followed}, not a regular file" in str(failure)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_file_that_never_ends() -> None:
    """A kernel's file that is regular by its mode and would wait for more is an error, not a wait."""
    failure = within_a_minute(lambda: read_regular("/proc/kmsg", 1 << 16))
    assert isinstance(failure, OSError | bytes)


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A file of just the limit is read; one more byte is refused, whatever its size was said to be."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_regular(path, 1000) == b"x" * 1000
    with pytest.raises(OSError, match="is longer than 999 bytes"):
        read_regular(path, 999)
    with pytest.raises(OSError, match="is longer than 10 bytes"):
        read_regular("/proc/self/status", 10)  # its size is said to be 0


def test_links_are_followed_where_wanted(tmp_path: Path) -> None:
    """An operator may name a link; in folders of others none is followed."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 10) == b"x"
    with pytest.raises(OSError, match="is a symbolic link"):
        open_regular(tmp_path / "link", follow=False)


def test_a_memory_file_is_a_file() -> None:
    """What the compile child has written is named by its descriptor."""
    descriptor = os.memfd_create("ruleset")
    os.write(descriptor, b"content")
    assert read_regular(f"/proc/self/fd/{descriptor}", 10) == b"content"
    os.close(descriptor)


def test_who_may_not_read_is_told_which_file(tmp_path: Path) -> None:
    """The error names the file, not a descriptor."""
    with pytest.raises(FileNotFoundError) as caught:
        open_regular(tmp_path / "none")
    assert str(tmp_path / "none") in str(caught.value)
