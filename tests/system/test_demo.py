"""`geodrop demo` as an operator runs it: what it shows is true, and however it ends nothing is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.demo.screen import WIDTH
from geodrop.errors import PrivilegeError
from tests.namespaces import require

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow]

SECONDS = 60
"""How long the demo may take; design.md's word for it is: under a minute."""

ROW = re.compile(r"  (?P<country>[A-Z]{2})\s+(?P<verdict>accept|drop)\s+\S+\s+(\d+) of (\d+)\s+\S+\s+(\d+) of (\d+)")


@dataclass(frozen=True)
class Traces:
    """What a running demo has made on this machine, seen from outside."""

    holders: list[int]
    namespaces: set[str]
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
        return cls(
            holders,
            {os.readlink(f"/proc/{pid}/ns/net") for pid in holders},
            {Path(line.decode().strip()) for line in locks},
        )

    def assert_gone(self) -> None:
        """Nobody is in the namespaces any more, and no lock is left."""
        assert not self.namespaces & set(namespaces_in_use())
        assert not [path for path in self.locks if path.exists() or path.parent.exists()]


def namespaces_in_use() -> Iterator[str]:
    """The network namespaces that some process is in."""
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            yield os.readlink(path)
        except (FileNotFoundError, ProcessLookupError):
            continue


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files; afterwards it and the machine's own links and names must be as they were."""
    require()
    tmp_path.chmod(0o755)
    links = os.listdir("/sys/class/net")
    yield tmp_path
    assert os.listdir(tmp_path) == []
    assert os.listdir("/sys/class/net") == links


def start(folder: Path) -> subprocess.Popen[str]:
    """The demo, with its temporary files in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "geodrop", "demo"],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
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


def test_the_demo_shows_what_it_says(folder: Path) -> None:
    """Supported countries connect, others do not, both families; the switch, counters and explain are shown."""
    demo = start(folder)
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
    assert re.search(r"api +ipv6 +CN +[1-9]", out)
    assert "kernel: drop" in out
    assert "IP Geolocation by DB-IP (https://db-ip.com)" in " ".join(out.split())
    assert "Removed:" in out
    assert max(map(len, out.splitlines())) <= WIDTH
    assert "\x1b" not in out


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


def test_a_killed_demo_leaves_no_namespace(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A SIGKILL gives it no chance to tidy up: the namespaces go all the same. Its files stay, as any program's do."""
    require()
    demo = start(tmp_path_factory.mktemp("killed"))
    read_until(demo, "1. An HTTP server")
    traces = Traces.of(demo)
    demo.kill()
    demo.communicate(timeout=SECONDS)
    for pid in traces.holders:
        subprocess.run(["timeout", "10", "tail", f"--pid={pid}", "-f", "/dev/null"], check=True)
    traces.assert_gone()


def test_without_privileges_it_says_what_is_missing(folder: Path) -> None:
    """Each capability is named, and nothing has been made by then."""
    # The user stays root, who can enter the folder that this runs from.
    less = ["setpriv", "--bounding-set=-net_bind_service,-net_admin,-sys_admin"]
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
