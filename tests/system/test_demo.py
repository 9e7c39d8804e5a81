# SPDX-License-Identifier: Apache-2.0
"""`geodrop demo` as an operator runs it: what it shows is true, and however it ends nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.demo.network import NEEDED_PROGRAMS
from geodrop.demo.screen import WIDTH
from geodrop.errors import PrivilegeError
from geodrop.state.places import OWN_BPFFS, bpffs
from tests.support.namespaces import require

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow]

SECONDS = 300
"""Limit for a whole demo, which takes about a minute on a machine that is not busy."""

ROW = re.compile(r"  (?P<country>[A-Z]{2})\s+(?P<verdict>accept|drop)\s+\S+\s+(\d+) of (\d+)\s+\S+\s+(\d+) of (\d+)")


@dataclass(frozen=True)
class Traces:
    """What a running demo has made on this machine, seen from outside."""

    holders: list[int]
    namespaces: dict[str, int]
    locks: set[Path]

    @classmethod
    def of(cls, demo: subprocess.Popen[str]) -> Traces:
        """The namespaces that its child processes are in, and where geodrop keeps its lock for each."""
        holders = [int(pid) for pid in Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()]
        ask = [sys.executable, "-c", "from geodrop.state.places import lock_file; print(lock_file())"]
        locks = {
            subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *ask], check=True, stdout=subprocess.PIPE).stdout
            for pid in holders
        }
        files = [f"/proc/{pid}/ns/net" for pid in holders]
        if os.readlink(f"/proc/{demo.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"):
            files.append(f"/proc/{demo.pid}/ns/mnt")
        return cls(
            holders,
            # Held open, so that the kernel gives its number to no other namespace.
            {os.readlink(file): os.open(file, os.O_RDONLY) for file in files},
            {Path(line.decode().strip()) for line in locks},
        )

    def assert_gone(self) -> None:
        """Nobody is in the namespaces any more, and no lock is left."""
        self.assert_left()
        assert not [path for path in self.locks if path.exists() or path.parent.exists()]

    def assert_left(self) -> None:
        """Nobody is in the namespaces any more: what is in them goes with the last who holds them, and that is us."""
        in_use = set(namespaces_in_use())
        for descriptor in self.namespaces.values():
            os.close(descriptor)
        assert not self.namespaces.keys() & in_use


def namespaces_in_use() -> Iterator[str]:
    """The network and mount namespaces that some process is in."""
    for path in Path("/proc").glob("[0-9]*/ns/[nm][en]t"):
        try:
            yield os.readlink(path)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            # It has ended, or it is none that the demo started: those are root's.
            continue


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files; afterwards it and the machine's own links and mounts must be as they were."""
    require()
    tmp_path.chmod(0o755)
    before = own_things()
    yield tmp_path
    assert os.listdir(tmp_path) == []
    assert own_things() == before


def own_things() -> tuple[list[str], list[str]]:
    """The machine's interfaces, and what is mounted where geodrop pins."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return os.listdir("/sys/class/net"), [line for line in mounts if line.split()[1] == str(bpffs())]


def start(folder: Path, *before: str, path: str | None = None) -> subprocess.Popen[str]:
    """Start the demo with its temporary files in `folder`; `before` is put in front of the command.

    `path` is where it finds programs, instead of everywhere.
    """
    return subprocess.Popen(
        [*before, sys.executable, "-m", "geodrop", "demo"],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", "PATH": path or os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(demo: subprocess.Popen[str], text: str) -> str:
    """The demo's output up to a line that has this text."""
    assert demo.stdout is not None
    seen = ""
    for line in demo.stdout:
        seen += line
        if text in line:
            return seen
    pytest.fail(f"the demo ended before {text!r}: {demo.communicate()[1]}")


@pytest.fixture
def only_needed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the programs that the demo asks for, and no other: neither ip nor nft."""
    programs = tmp_path_factory.mktemp("programs")
    for name in NEEDED_PROGRAMS:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    assert shutil.which("ip", path=str(programs)) is None
    return str(programs)


def test_the_demo_shows_what_it_says(folder: Path, only_needed: str) -> None:
    """Supported countries connect, others do not, in both families; switch, counters and explain, on both engines.

    On a host that has no iproute2.
    """
    demo = start(folder, path=only_needed)
    first = read_until(demo, "1. An HTTP server")
    traces = Traces.of(demo)
    rest, err = demo.communicate(timeout=SECONDS)
    out = first + rest
    assert (demo.returncode, err) == (0, "")
    traces.assert_gone()
    rows = {found["country"]: found for line in out.splitlines() if (found := ROW.fullmatch(line))}
    assert {country for country, row in rows.items() if row["verdict"] == "drop"} == {"CN", "HK", "IR", "RU", "VE"}
    assert {country for country, row in rows.items() if row["verdict"] == "accept"} >= {"BR", "DE", "IN", "JP", "US"}
    for row in rows.values():
        answered4, all4, answered6, all6 = map(int, row.groups()[2:])
        assert min(all4, all6) > 5
        assert (answered4, answered6) == ((all4, all6) if row["verdict"] == "accept" else (0, 0))
    # Who moved: before the load one way in every request, after it the other.
    assert re.search(r"CH IPv4 +#+ +\| #*\.* *\| \.+$", out, re.MULTILINE)
    assert re.search(r"VE IPv6 +\.+ +\| \.*#* *\| #+$", out, re.MULTILINE)
    assert re.search(r"generation 1 -> 2: .*switch \d+ ms", " ".join(out.split()))
    nftables, xdp = out.split("6. xdp takes over")
    assert "interface   eth0 (nftables)" in nftables
    assert "interface   eth0 (xdp, native)" in xdp
    # Nobody confirms the mistake, and every client that it locked out is let in again.
    assert re.search(r"BR IPv4 +\.+ +\| \.*#* *\| #+$", nftables, re.MULTILINE)
    assert "generation 3 was not confirmed and undone" in " ".join(nftables.split())
    # Who does not move stays as it is while the engines change places, in every request.
    assert re.search(r"BR IPv4 +#+ +\| #+ *\| #+$", xdp, re.MULTILINE)
    assert re.search(r"CH IPv6 +\.+ +\| \.+ *\| \.+$", xdp, re.MULTILINE)
    # And the edit is taken back: the opposite of what nftables did.
    assert re.search(r"generation 2 -> 4: .*switch \d+ ms", " ".join(xdp.split()))
    assert re.search(r"CH IPv4 +\.+ +\| \.*#* *\| #+$", xdp, re.MULTILINE)
    assert re.search(r"VE IPv6 +#+ +\| #*\.* *\| \.+$", xdp, re.MULTILINE)
    for engine in (nftables, xdp):
        assert re.search(r"api +ipv6 +CN +[1-9]", engine)
        assert re.search(r"DROP .*CN: no line of api allows", engine)
        assert re.search(r"^ +kernel +agrees \(generation \d+\)$", engine, re.MULTILINE)
    assert re.search(r"^  of them not as the policy says +0 +0$", xdp, re.MULTILINE)
    assert "IP Geolocation by DB-IP (https://db-ip.com)" in " ".join(out.split())
    assert "Removed:" in out
    assert max(map(len, out.splitlines())) <= WIDTH
    assert "\x1b" not in out


def test_without_bpf_it_says_so_and_goes_on(folder: Path) -> None:
    """A host that cannot run xdp sees the whole story on nftables, and why there is no more."""
    # The kernel's file systems are hidden, so that there is no place for a bpffs.
    hide = f"umount {OWN_BPFFS} 2>/dev/null; mount -t tmpfs none /sys/fs && exec $0 $@"
    demo = start(folder, "unshare", "--mount", "sh", "-c", hide)
    out, err = demo.communicate(timeout=SECONDS)
    assert (demo.returncode, err) == (0, "")
    assert "nftables stays in force: no bpffs can be mounted on /sys/fs/bpf (No such file" in " ".join(out.split())
    assert "generation 1 -> 2" in out
    assert "generation 2 -> 4" not in out
    assert "requests went as the policies say" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interrupted_demo_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C, kill and a closed terminal: everything is removed, and no traceback is shown."""
    demo = start(folder)
    read_until(demo, "generation 0 -> 1")
    traces = Traces.of(demo)
    assert len(traces.namespaces) == 2
    assert [path for path in traces.locks if path.exists()], "load has taken its lock in one of the namespaces"
    demo.send_signal(number)
    _, err = demo.communicate(timeout=SECONDS)
    assert (demo.returncode, err) == (128 + signal.SIGINT, "")
    traces.assert_gone()


@pytest.mark.parametrize("moment", ["1. An HTTP server", "generation 2 -> 4"], ids=["nothing loaded", "on xdp"])
def test_a_killed_demo_leaves_no_namespace(moment: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A SIGKILL gives it no chance to tidy up: the namespaces go all the same. Its files stay, and so does a lock."""
    require()
    demo = start(tmp_path_factory.mktemp("killed"))
    read_until(demo, moment)
    traces = Traces.of(demo)
    demo.kill()
    demo.communicate(timeout=SECONDS)
    for pid in traces.holders:
        subprocess.run(["timeout", "10", "tail", f"--pid={pid}", "-f", "/dev/null"], check=True)
    traces.assert_left()
    for lock in traces.locks:
        shutil.rmtree(lock.parent, ignore_errors=True)


def test_without_privileges_it_says_what_is_missing(folder: Path) -> None:
    """Each capability is named, and nothing has been made by then."""
    # The user stays root, who can enter the folder that this runs from.
    lacking = "-net_bind_service,-net_admin,-sys_admin"
    less = ["setpriv", f"--inh-caps={lacking}", f"--bounding-set={lacking}"]
    done = subprocess.run(
        [*less, sys.executable, "-m", "geodrop", "demo"],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == PrivilegeError.exit_code
    assert "CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_SYS_ADMIN; run it as root" in done.stderr
    assert done.stdout == ""
