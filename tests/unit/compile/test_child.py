# SPDX-License-Identifier: Apache-2.0
import dataclasses
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from geodrop.compile import child as module
from geodrop.compile import sandbox
from geodrop.compile.channel import receive
from geodrop.compile.sandbox import Answer, Child, Job
from geodrop.errors import ConfigError, DataError, PolicyError
from geodrop.ruleset.container import Container, open_file
from geodrop.ruleset.difference import Move, RulesetDiff, ServiceChange
from geodrop.ruleset.model import Ruleset
from geodrop.ruleset.sealed import seal
from tests.support.databases import country, write_database

POLICY = """
version: 1
services:
  api:
    default: allow
    unknown: allow
    deny: [IR, list:bad]
lists:
  bad: {file: lists/bad.txt}
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[Path]:
    """Write a policy with a list file and a database into a folder that only its owner can enter."""
    folder = tmp_path / "closed"
    (folder / "lists").mkdir(parents=True)
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "lists" / "bad.txt").write_text("8.8.8.0/24 # resolvers\n")
    write_database(folder / "country.mmdb", {"1.0.0.0/24": country("IR"), "2400::/24": country("IR")})
    folder.chmod(0o700)
    yield folder
    folder.chmod(0o700)


def job(inputs: Path, output: int | None = None) -> Job:
    """Compile the inputs into a descriptor."""
    return Job("compile", str(inputs / "policy.yaml"), [str(inputs / "country.mmdb")], output)


def compile_to(path: Path, inputs: Path) -> int:
    """Compile the inputs into a file; return the exit code."""
    with path.open("wb") as output:
        return sandbox.run(job(inputs, output.fileno()))


def test_inputs_come_as_descriptors(inputs: Path, tmp_path: Path) -> None:
    """The child reads policy, database and list from a folder that it cannot enter itself, and names them all."""
    assert compile_to(tmp_path / "out", inputs) == 0
    ruleset = Ruleset.open(tmp_path / "out")
    assert [(one.kind, one.name) for one in ruleset.meta.inputs] == [
        ("policy", "policy.yaml"),
        ("list", "lists/bad.txt"),
        ("database", "country.mmdb"),
    ]
    assert all(len(one.sha256) == 64 for one in ruleset.meta.inputs)
    assert [one.prefixes for one in ruleset.meta.inputs] == [None, 1, None]


def test_list_outside_the_folder_is_refused(inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A link that leads out of the policy's folder is not followed, and the message says so."""
    (inputs / "lists" / "bad.txt").unlink()
    (tmp_path / "elsewhere.txt").write_text("8.8.8.0/24\n")
    (inputs / "lists" / "bad.txt").symlink_to("../../elsewhere.txt")
    assert compile_to(tmp_path / "out", inputs) == DataError.exit_code
    assert "lists/bad.txt: leads out of the folder (links in it must be relative)" in capfd.readouterr().err


def test_a_policy_mounted_from_a_config_map(inputs: Path, tmp_path: Path) -> None:
    """Policy and list may both be links by way of `..data`, as Kubernetes mounts them: the list is read."""
    mounted = tmp_path / "mounted"
    (mounted / "..2026_11_28").mkdir(parents=True)
    (mounted / "..2026_11_28" / "policy.yaml").write_text(POLICY.replace("lists/bad.txt", "bad.txt"))
    (mounted / "..2026_11_28" / "bad.txt").write_text("8.8.8.0/24\n")
    (mounted / "..data").symlink_to("..2026_11_28")
    for name in ("policy.yaml", "bad.txt"):
        (mounted / name).symlink_to(f"..data/{name}")
    (inputs / "country.mmdb").rename(mounted / "country.mmdb")
    assert compile_to(tmp_path / "out", mounted) == 0
    assert Ruleset.open(tmp_path / "out").meta.inputs[1].name == "bad.txt"


def test_broken_names_beside_a_sound_country(inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A database with broken names compiles and explains as an intact one does, except for the name in the record."""
    record = {"country": {"iso_code": "IR", "names": {"en": "name-of-it"}}}
    whole = write_database(inputs / "country.mmdb", {"1.0.0.0/24": record, "2400::/24": record}).read_bytes()
    answers = []
    for data in (whole, whole.replace(b"name-of-it", b"\xff" * 10)):
        (inputs / "country.mmdb").write_bytes(data)
        assert compile_to(tmp_path / "out", inputs) == 0
        options = {"addresses": ["1.0.0.1", "2400::1", "8.8.8.8"], "json": True, "at": None}
        databases = [str(inputs / "country.mmdb")]
        assert sandbox.run(Job("explain", str(inputs / "policy.yaml"), databases, options=options)) == 0
        answers.append(capfd.readouterr().out)
    assert "name-of-it" in answers[0]
    assert answers[1] == answers[0].replace("name-of-it", "(cannot be read)")


@pytest.mark.parametrize("task", ["check", "compile"])
def test_a_list_that_lost_most_of_its_lines(
    inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], task: str
) -> None:
    """Check and compile both warn of a list that lost most of its lines, and accept the policy nevertheless."""
    lists = inputs / "lists" / "bad.txt"
    lists.write_text("".join(f"8.8.{number}.0/25\n" for number in range(100)))
    assert compile_to(tmp_path / "before", inputs) == 0
    lists.write_text("8.8.8.0/24\n")
    before = open_file(tmp_path / "before")
    previous = [memory.descriptor for memory in before.memories()]
    capfd.readouterr()
    with (tmp_path / "out").open("wb") as output:
        databases = [str(inputs / "country.mmdb")] if task == "compile" else []
        described = Job(
            task, str(inputs / "policy.yaml"), databases, output.fileno(), previous=previous, options={"json": False}
        )
        assert sandbox.run(described) == 0
    said = capfd.readouterr().err
    assert (
        "policy.yaml:9:3: warning: lists/bad.txt has 1 of the 100 prefixes that it had in the ruleset asked for last"
        in said
    )


def test_missing_inputs(inputs: Path, tmp_path: Path) -> None:
    """A missing database is bad data (65), a missing policy bad configuration (78)."""
    with pytest.raises(DataError, match=r"none\.mmdb: No such file"):
        sandbox.run(Job("compile", str(inputs / "policy.yaml"), [str(tmp_path / "none.mmdb")]))
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        sandbox.run(Job("check", str(tmp_path / "none.yaml")))


def test_explain_names_region_and_record(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Addresses are answered in order; a bad one gets an error, and the exit code at the end is 65."""
    addresses = ["1.0.0.1", "nonsense", "8.8.8.8", "2400::1"]
    options = {"addresses": addresses, "json": True, "at": None}
    databases = [str(inputs / "country.mmdb")]
    assert sandbox.run(Job("explain", str(inputs / "policy.yaml"), databases, options=options)) == 65
    answers = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [answer["address"] for answer in answers] == addresses
    shown: list[tuple[Any, ...]] = [
        (answer.get("rung"), answer.get("verdict"), answer.get("region")) for answer in answers
    ]
    assert shown == [
        ("country", "drop", "IR"),
        (None, None, None),
        ("prefix", "drop", "unknown"),
        ("country", "drop", "IR"),
    ]
    assert "error" in answers[1]
    assert answers[0]["record"] == country("IR")


def test_streams_of_its_own(inputs: Path) -> None:
    """A daemon gets the child's output as text, and its exit code, for a good policy and for one with a problem."""
    checked = Job("check", str(inputs / "policy.yaml"), options={"json": False})
    with Child.start() as child:
        answer = child.run(checked)
    assert answer == Answer(0, f"{inputs}/policy.yaml: good, 2 lines for service api\n")
    (inputs / "policy.yaml").write_text(POLICY.replace("IR", "XX"))
    with Child.start() as child:
        answer = child.run(checked)
    assert answer.exit == PolicyError.exit_code
    assert f"{inputs}/policy.yaml:7:12: error: " in answer.text


def test_database_that_is_none(inputs: Path) -> None:
    """A damaged database is refused with the reason, whether it was read in advance or not."""
    (inputs / "country.mmdb").write_bytes(os.urandom(5000))
    for ahead in (False, True):
        with Child.start() as child:
            if ahead:
                child.prepare([str(inputs / "country.mmdb")])
            answer = child.run(job(inputs))
        assert (answer.exit, "country.mmdb" in answer.text) == (DataError.exit_code, True)


def _folder_as_list(folder: Path) -> None:
    (folder / "lists" / "bad.txt").unlink()
    (folder / "lists" / "bad.txt").mkdir()


def _pipe_as_list(folder: Path) -> None:
    (folder / "lists" / "bad.txt").unlink()
    os.mkfifo(folder / "lists" / "bad.txt")


HOSTILE: dict[str, tuple[Callable[[Path], object], int]] = {
    "folder as list": (_folder_as_list, DataError.exit_code),
    "pipe as list": (_pipe_as_list, DataError.exit_code),
    "list of bytes": (lambda folder: (folder / "lists" / "bad.txt").write_bytes(bytes(range(256))), 65),
    "huge policy": (lambda folder: (folder / "policy.yaml").write_bytes(b"# " * (3 << 20)), PolicyError.exit_code),
    "deep policy": (lambda folder: (folder / "policy.yaml").write_bytes(b"[" * 100_000), PolicyError.exit_code),
    "list name": (lambda folder: (folder / "policy.yaml").write_text(POLICY.replace("lists/bad", "x" * 70_000)), 78),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_input_ends_in_an_exit_code(inputs: Path, case: str, tmp_path: Path) -> None:
    """Whatever is in place of a policy or list, the caller gets an exit code, and never hangs or crashes."""
    damage, expected = HOSTILE[case]
    damage(inputs)
    with (tmp_path / "out").open("wb") as output, Child.start() as child:
        assert child.run(job(inputs, output.fileno()), timeout=60).exit == expected


def test_databases_read_ahead_give_the_same_bytes(inputs: Path, tmp_path: Path) -> None:
    """The ruleset does not depend on when the databases were read."""
    databases = [str(inputs / "country.mmdb")]
    assert compile_to(tmp_path / "one", inputs) == 0
    with Child.start() as child, (tmp_path / "two").open("wb") as output:
        child.prepare(databases)
        assert child.is_fit(databases)
        assert child.run(job(inputs, output.fileno())).exit == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_database_replaced_meanwhile_is_read_again(inputs: Path, tmp_path: Path) -> None:
    """Data read in advance is used only if the file is still the same; `is_fit` says that a new child is needed."""
    database = inputs / "country.mmdb"
    with Child.start() as child, (tmp_path / "out").open("wb") as output:
        child.prepare([str(database)])
        write_database(inputs / "new.mmdb", {"1.0.0.0/24": country("US"), "2400::/24": country("US")})
        (inputs / "new.mmdb").replace(database)
        assert not child.is_fit([str(database)])
        assert child.run(job(inputs, output.fileno())).exit == 0
    recorded = Ruleset.open(tmp_path / "out").meta.inputs[-1]
    assert recorded.sha256 == hashlib.sha256(database.read_bytes()).hexdigest()


def memories(path: Path) -> list[int]:
    """Return the descriptors of a ruleset file and its base, as a daemon passes them; open until the test ends."""
    opened = open_file(path)
    HELD.append(opened)
    return [memory.descriptor for memory in opened.memories()]


HELD: list[Container] = []


def test_change_against_a_previous_ruleset(inputs: Path, tmp_path: Path) -> None:
    """A compile returns what changes, and two existing rulesets can be compared without their inputs."""
    assert compile_to(tmp_path / "old", inputs) == 0
    old = tmp_path / f"{open_file(tmp_path / 'old').digest}.ruleset"
    (tmp_path / "old").rename(old)
    (inputs / "policy.yaml").write_text(POLICY.replace("[IR, ", "["))
    with (tmp_path / "new").open("w+b") as new, Child.start() as child:
        answer = child.run(dataclasses.replace(job(inputs, new.fileno()), previous=memories(old)))
    assert answer.change is not None
    assert answer.change.as_text() == "api accepts IR (<0.1% of IPv4), +0 -2 prefixes"
    [move] = answer.change.services[0].moves
    assert (move.label, move.to, move.line) == ("IR", "accept", "policy.yaml:5 default: allow")
    assert len(memories(tmp_path / "new")) == 2, "a delta file, based on the old ruleset"
    with Child.start() as child:
        again = child.run(Job("compare", ruleset=memories(tmp_path / "new"), previous=memories(old)))
    assert again == Answer(0, "", answer.change)
    with Child.start() as child:
        first = child.run(Job("compare", ruleset=memories(old)))
    assert first.change is not None
    assert first.change.as_text().startswith("api drops IR"), "against nothing"


@pytest.mark.parametrize("content", [b"", b"nonsense", b"geodrop\0" + b"\0" * 100])
def test_previous_ruleset_that_is_none(inputs: Path, tmp_path: Path, content: bytes) -> None:
    """A damaged previous ruleset cannot be compared, but does not prevent a compile."""
    memory = os.memfd_create("old", os.MFD_ALLOW_SEALING)
    os.write(memory, content)
    seal(memory)
    with (tmp_path / "new").open("w+b") as new, Child.start() as child:
        answer = child.run(dataclasses.replace(job(inputs, new.fileno()), previous=[memory]))
    assert (answer.exit, answer.change) == (0, None)
    assert "warning: the change against the previous ruleset is unknown: " in answer.text
    with Child.start() as child:
        answer = child.run(Job("compare", ruleset=memories(tmp_path / "new"), previous=[memory]))
    os.close(memory)
    assert answer.exit == DataError.exit_code
    assert "previous" in answer.text


def test_a_previous_ruleset_that_is_not_sealed(inputs: Path, tmp_path: Path) -> None:
    """The child may not create memory to copy an unsealed ruleset to, and reports that."""
    assert compile_to(tmp_path / "old", inputs) == 0
    with (tmp_path / "old").open("rb") as old, (tmp_path / "new").open("w+b") as new, Child.start() as child:
        answer = child.run(dataclasses.replace(job(inputs, new.fileno()), previous=[old.fileno()]))
    assert (answer.exit, answer.change) == (0, None)
    assert "the change against the previous ruleset is unknown: previous: Operation not permitted" in answer.text


def test_change_too_long_for_one_message() -> None:
    """If the change is too long for a message, it arrives in pieces, whole."""
    moves = [Move("list", f"{'x' * 200}{number}", "drop", number, 0) for number in range(1_000)]
    change = RulesetDiff((ServiceChange("api", "changed", moves),))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pieces = []
    with ours, theirs, ThreadPoolExecutor() as thread:
        sending = thread.submit(module.answer, theirs, module.TaskResult(5, change))
        while (received := receive(ours)) is not None and "change" in received[0]:
            pieces.append(received[0]["change"])
        sending.result()
    assert received == ({"exit": 5}, [])
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == change.as_json()


def test_socket_as_standard_input(inputs: Path) -> None:
    """The channel may be descriptor 0, as when systemd starts the child with StandardInput=socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-P", "-m", "geodrop.compile.child", "0"]
        process = subprocess.Popen(command, stdin=theirs.fileno())
    with Child(ours, process) as child:
        answer = child.run(Job("check", str(inputs / "policy.yaml"), options={"json": True}))
    assert (answer.exit, json.loads(answer.text)["services"], process.returncode) == (0, ["api"], 0)


def test_nobody_asks() -> None:
    """A waiting child ends silently when the process that started it goes."""
    child = Child.start()
    assert child.is_fit([])
    child._channel.close()
    assert child._process
    assert child._process.wait(30) == 0
    assert not child.is_fit([])
    child.close()


def test_reader_that_has_seen_enough(inputs: Path) -> None:
    """`geodrop explain ... | head -1` ends without an error."""
    addresses = ["1.0.0.1"] * 1000
    options = {"addresses": addresses, "json": True, "at": None}
    end, closed = os.pipe()
    os.close(end)
    with Child.start() as child:
        request = Job("explain", str(inputs / "policy.yaml"), [str(inputs / "country.mmdb")], options=options)
        answer = child.run(request, (0, closed, 2))
    os.close(closed)
    assert answer.exit == 0


def test_killed_child_is_bad_input(inputs: Path) -> None:
    """If the child is killed, by a limit or a crash in a decoder, the input is refused."""
    child = Child.start()
    assert child._process
    child._process.kill()
    with pytest.raises(DataError, match=r"died \(signal 9\)"):
        child.run(job(inputs))
