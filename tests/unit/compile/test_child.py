import json
import multiprocessing
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from geodrop.compile import child, sandbox
from geodrop.errors import ConfigError, DataError
from geodrop.ruleset.model import Ruleset
from tests.databases import country, write_database

POLICY = """
version: 1
services:
  api:
    default: allow
    unknown: allow
    deny: [CN, list:bad]
lists:
  bad: {file: lists/bad.txt}
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[Path]:
    """A policy with a list file and a database, in a folder that nobody but its owner can enter."""
    folder = tmp_path / "closed"
    (folder / "lists").mkdir(parents=True)
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "lists" / "bad.txt").write_text("8.8.8.0/24 # resolvers\n")
    write_database(folder / "country.mmdb", {"1.0.0.0/24": country("CN"), "2400::/24": country("CN")})
    folder.chmod(0o700)
    yield folder
    folder.chmod(0o700)


def compile_to(path: Path, inputs: Path) -> int:
    """Compile the inputs into a file; the exit code."""
    with path.open("wb") as output:
        return sandbox.run(
            "compile", str(inputs / "policy.yaml"), [str(inputs / "country.mmdb")], output=output.fileno()
        )


def test_inputs_come_as_descriptors(inputs: Path, tmp_path: Path) -> None:
    """The child reads policy, database and list from a folder that it could not enter itself, and names them all."""
    assert compile_to(tmp_path / "out", inputs) == 0
    ruleset = Ruleset.open(tmp_path / "out")
    assert [(one.kind, one.name) for one in ruleset.meta.inputs] == [
        ("policy", "policy.yaml"),
        ("list", "lists/bad.txt"),
        ("database", "country.mmdb"),
    ]
    assert all(len(one.sha256) == 64 for one in ruleset.meta.inputs)


def test_list_outside_the_folder_is_refused(inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A link in the policy's folder leads nowhere."""
    (inputs / "lists" / "bad.txt").unlink()
    (tmp_path / "elsewhere.txt").write_text("8.8.8.0/24\n")
    (inputs / "lists" / "bad.txt").symlink_to(tmp_path / "elsewhere.txt")
    assert compile_to(tmp_path / "out", inputs) == DataError.exit_code
    assert "lists/bad.txt" in capfd.readouterr().err


def test_missing_inputs(inputs: Path, tmp_path: Path) -> None:
    """A missing database is bad data (65), a missing policy bad configuration (78)."""
    with pytest.raises(DataError, match=r"none\.mmdb: No such file"):
        sandbox.run("compile", str(inputs / "policy.yaml"), [str(tmp_path / "none.mmdb")])
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        sandbox.run("check", str(tmp_path / "none.yaml"), [])


def test_explain_names_region_and_record(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Addresses are answered in order, a bad one with an error and 65 at the end."""
    addresses = ["1.0.0.1", "nonsense", "8.8.8.8", "2400::1"]
    options = {"addresses": addresses, "json": True, "at": None}
    databases = [str(inputs / "country.mmdb")]
    assert sandbox.run("explain", str(inputs / "policy.yaml"), databases, options=options) == 65
    answers = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [answer["address"] for answer in answers] == addresses
    shown: list[tuple[Any, ...]] = [
        (answer.get("rung"), answer.get("verdict"), answer.get("region")) for answer in answers
    ]
    assert shown == [
        ("country", "drop", "CN"),
        (None, None, None),
        ("prefix", "drop", "unknown"),
        ("country", "drop", "CN"),
    ]
    assert "error" in answers[1]
    assert answers[0]["record"] == country("CN")


def _dropped(results: Connection, memory: int) -> None:
    child.LIMITS[resource.RLIMIT_AS] = memory
    child.drop_privileges()
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    try:
        bytearray(memory)
        bounded = False
    except MemoryError:
        bounded = True
    results.send((os.getresuid(), os.getresgid(), os.getgroups(), status["NoNewPrivs"], status["CapEff"], bounded))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_privileges_are_dropped_for_good() -> None:
    """Before it reads anything the child is nobody, without groups, capabilities or a way back, and bounded."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_dropped, args=(theirs, 2 << 30))
    process.start()
    assert ours.poll(30)
    uids, gids, groups, no_new_privs, capabilities, bounded = ours.recv()
    process.join()
    assert uids == gids == (child.NOBODY,) * 3
    assert groups == []
    assert no_new_privs == "1"
    assert int(capabilities, 16) == 0
    assert bounded


def test_killed_child_is_bad_input(inputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever kills the child (a limit, a crash in a decoder) means: this input is refused."""
    real = subprocess.Popen

    def killed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - stands in for Popen
        process = real(*args, **kwargs)
        process.kill()
        return process

    monkeypatch.setattr("geodrop.compile.sandbox.subprocess.Popen", killed)
    with pytest.raises(DataError, match="died"):
        compile_to(tmp_path / "out", inputs)


def test_channel_ends_with_the_child() -> None:
    """The parent serves lists until the child closes its end, and no longer."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.close()
        sandbox._serve_lists(ours, -1)
