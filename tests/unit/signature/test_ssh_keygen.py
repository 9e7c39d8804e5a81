# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from geodrop.errors import UnavailableError
from geodrop.ruleset.sealed import seal
from geodrop.signature import ssh_keygen
from tests.support.users import as_user, open_to_others
from tests.support.waiting import until

AS_A_DAEMON = """
import os, sys
from geodrop.ruleset.sealed import seal
from geodrop.signature import ssh_keygen
ssh_keygen.PATH = sys.argv[1]
memory = os.memfd_create("message", os.MFD_ALLOW_SEALING)
seal(memory)
print(ssh_keygen.check([], memory).out)
"""


@pytest.fixture
def message() -> int:
    """Return sealed memory with a message."""
    memory = os.memfd_create("message", os.MFD_ALLOW_SEALING)
    os.write(memory, b"the message")
    seal(memory)
    return memory


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the path of a program that runs in place of ssh-keygen, to see what it is given."""
    open_to_others(tmp_path)
    monkeypatch.setattr(ssh_keygen, "PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "ssh-keygen"


def write(path: Path, script: str) -> None:
    """Write the program."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_it_reads_the_message_and_files_from_memory(message: int, stand_in: Path) -> None:
    """An argument of bytes becomes a path that reads as that content; nothing of it can be changed."""
    write(
        stand_in, 'cat; echo; cat "$2"; (echo x >>"$2") 2>/dev/null || echo sealed; (echo x >&0) 2>/dev/null || exit 3'
    )
    said = ssh_keygen.check(["-f", b"the keys\n"], message)
    assert (said.code, said.out) == (3, "the message\nthe keys\nsealed\n")
    assert os.lseek(message, 0, os.SEEK_CUR) == len(b"the message"), "it has a position of its own"


def test_a_child_of_root_is_nobody(message: int, stand_in: Path) -> None:
    """It has no user, no group, no capability, no environment and no terminal of ours."""
    write(stand_in, "id; grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)' /proc/self/status; env; pwd")
    said = ssh_keygen.check([], message)
    assert "uid=65534(nobody) gid=65535" in said.out
    assert "root" not in said.out.splitlines()[0]
    assert_without_rights(said.out)
    assert "HOME" not in said.out
    assert said.out.endswith("\n/\n")


TRACE = """
import ctypes, os, sys
PTRACE_SEIZE = 0x4206
libc = ctypes.CDLL(None, use_errno=True)
print(os.strerror(ctypes.get_errno()) if libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None) else "traced")
"""


def test_another_program_of_nobody_cannot_speak_for_it(message: int, stand_in: Path) -> None:
    """Programs of several owners run as nobody. If one could trace ours, it would say that a signature is good."""
    write(stand_in, "exec sleep 1000")

    def traced(pid: int) -> str:
        command = [*as_user(), sys.executable, "-c", TRACE, str(pid)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    with ThreadPoolExecutor() as pool:
        theirs = pool.submit(subprocess.run, [*as_user(), "sleep", "1000"], check=False)
        assert in_a_child_that_sleeps(traced) == "traced"
        assert theirs.result().returncode == -signal.SIGKILL
        ours = pool.submit(ssh_keygen.check, [], message)
        assert in_a_child_that_sleeps(traced) == "Operation not permitted"
        assert ours.result().code == -signal.SIGKILL


def in_a_child_that_sleeps(work: Callable[[int], str]) -> str:
    """Return what `work` says of the child of this process that runs `sleep`, once there is one; then end the child."""
    until(asleep)
    [pid] = asleep()
    try:
        return work(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def asleep() -> list[int]:
    """Return the numbers of the processes that this one has started and that run `sleep` by now."""
    found = [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]
    return [int(pid) for pid in found if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]


def test_a_child_of_a_daemon_has_no_capability(stand_in: Path) -> None:
    """A daemon holds CAP_NET_ADMIN as an ambient capability, which children inherit: this one does not."""
    write(stand_in, "grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)' /proc/self/status")
    command = [*as_user(1, "net_admin"), sys.executable, "-c", AS_A_DAEMON, ssh_keygen.PATH]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert_without_rights(done.stdout)


def assert_without_rights(status: str) -> None:
    """Check the lines of /proc/self/status. CapInh gives nothing to a program without capabilities of its own."""
    found = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}
    assert found["NoNewPrivs"] == "1"


def test_what_it_says_is_bounded(message: int, stand_in: Path) -> None:
    """However much it writes, it ends, and only the beginning counts."""
    write(stand_in, "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")
    said = ssh_keygen.check([], message)
    assert (said.code, len(said.out), len(said.err)) == (0, ssh_keygen.MOST, ssh_keygen.MOST)


def test_it_has_no_more_than_its_time(message: int, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs is ended, and that is said."""
    monkeypatch.setattr(ssh_keygen, "SECONDS", 0.2)
    write(stand_in, "exec sleep 1000")
    with pytest.raises(UnavailableError, match="took longer than"):
        ssh_keygen.check([], message)


def test_missing(message: int, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ssh-keygen the message names the package."""
    monkeypatch.setattr(ssh_keygen, "PATH", str(stand_in.parent))
    with pytest.raises(UnavailableError, match="apt-get install openssh-client"):
        ssh_keygen.check([], message)


def test_it_cannot_be_started(message: int, stand_in: Path) -> None:
    """A program that the kernel refuses is a facility that is missing, not a bad signature."""
    stand_in.write_bytes(b"\x7fELF nonsense")
    stand_in.chmod(0o755)
    with pytest.raises(UnavailableError, match="cannot check the signature"):
        ssh_keygen.check([], message)
