# SPDX-License-Identifier: Apache-2.0
"""Two operators at the same time: each gets a clear answer, and what is in force afterwards is whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodrop.control import frame
from tests.support.cli import TIMEOUT
from tests.support.daemons import Daemon, together
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.daemon.conftest import Host
    from tests.support.cli import Done

CHINA, RUSSIA = "1.0.0.1", "2.0.0.1"


def assert_whole(host: Host, outcomes: list[Done], *allowed: tuple[int, int]) -> None:
    """Both were answered as is allowed, each refusal in words; kernel and intent agree about what is in force."""
    codes = tuple(one.code for one in outcomes)
    assert codes in allowed, outcomes
    for one in outcomes:
        assert not one.code or re.fullmatch("geodrop: error: .+; .+\n", one.err), one
    status = host.geodrop.run("status", "--json").json
    intent = json.loads((host.folder / "state" / "intent.json").read_text())
    if intent["unloaded"]:
        assert status["generation"] == 0
        return
    assert status["digest"] == intent["digest"]
    assert host.geodrop.good("verify", "--full").code == 0


def both(host: Host, first: str, second: str) -> list[Done]:
    """Run two command lines at the same time."""
    return together(host.geodrop, tuple(first.split()), tuple(second.split()))


def start_again(host: Host) -> None:
    """Have China denied, for good, and Russia in the policy."""
    if host.geodrop.run("status", "--json").json["confirm"]:
        host.geodrop.good("rollback")
    host.geodrop.good("resume")
    host.deny("CN")
    host.geodrop.good("reload")
    host.deny("RU")


def test_one_is_careful(host: Host, running: Daemon) -> None:
    """Two reloads of the same policy, of which one has to be confirmed: both are told what is in force."""
    del running
    host.deny("RU")
    done = both(host, "reload --confirm-within 1h --json", "reload --json")
    assert_whole(host, done, (0, 0))
    assert len({one.json["digest"] for one in done}) == 1
    assert host.drops(RUSSIA)


def test_a_confirmation_and_something_else(host: Host, running: Daemon) -> None:
    """In a window one confirms while another confirms too, goes back or unloads: one comes first, and the second is
    answered as if it had come later. An unload does not wait: a confirmation that is under way is given up (75).
    """
    del running
    for other in ("confirm", "rollback", "unload"):
        start_again(host)
        digest = host.geodrop.good("reload", "--confirm-within", "1h", "--json").json["digest"][:12]
        done = both(host, f"confirm {digest}", other)
        later = {"confirm": (), "rollback": ((1, 0),), "unload": ((1, 0), (75, 0))}
        assert_whole(host, done, (0, 0), *later[other])
        assert host.geodrop.run("status", "--json").json["confirm"] is None


@contextlib.contextmanager
def compiling(running: Daemon) -> Iterator[socket.socket]:
    """Have a reload wait for its compile child until the end of the block, and yield where it will be answered."""
    until(running.child_pids)
    [child] = running.child_pids()
    until(lambda: waits(child))  # a child that still reads its inputs would hold the reload up before the compile
    os.kill(child, signal.SIGSTOP)
    asked = socket.socket(socket.AF_UNIX)
    try:
        asked.settimeout(TIMEOUT)
        asked.connect(str(running.control))
        asked.sendall(frame.encode({"verb": "reload", "args": {}}))
        while message(asked).get("progress") != "compiling":
            pass
        yield asked
    except BaseException:
        asked.close()
        raise
    finally:
        os.kill(child, signal.SIGCONT)


def waits(process: int) -> bool:
    """Whether a process only waits: it sleeps, and takes no processor time. One that gets none does not sleep."""
    looks = set()
    for _ in range(4):
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
        looks.add((fields[0] == "S", *fields[11:13]))
        time.sleep(0.1)
    return len(looks) == 1 and looks.pop()[0] is True


def message(asked: socket.socket) -> dict[str, Any]:
    """Return the next message of an answer."""
    length = frame.length(asked.recv(4, socket.MSG_WAITALL), frame.MAX_ANSWER)
    return dict(frame.decode(asked.recv(length, socket.MSG_WAITALL)))


def test_a_reload_and_broken_glass(host: Host, running: Daemon) -> None:
    """No verb of the break glass waits for a compile that is under way, and what it did stays: an unload or a rollback
    for good (75 for the reload), a pause while the policy changes.
    """
    for glass, code in (("pause --for 1h", 0), ("rollback", 75), ("unload", 75)):
        start_again(host)
        with compiling(running) as asked:
            host.geodrop.good(*glass.split())
            before = host.table()
        with asked:
            while "exit" not in (answer := message(asked)):
                pass
        assert answer["exit"] == code, answer
        assert (f"the reload gives way to `geodrop {glass}`" in str(answer)) == (code == 75)
        assert (host.table() == before) == (code == 75)
        status = host.geodrop.run("status", "--json").json
        [state] = [name for name in ("paused", "unloaded", "rolled_back") if status[name]]
        assert state.startswith(glass.split()[0][:4])


def test_a_reload_and_broken_glass_at_once(host: Host, running: Daemon) -> None:
    """At any moment: the reload is given up or gives way (75), or is in force before or after."""
    del running
    for glass in ("pause --for 1h", "unload"):
        start_again(host)
        assert_whole(host, both(host, "reload", glass), (0, 0), (75, 0))


def test_exemptions(host: Host, running: Daemon) -> None:
    """Two for the same client are one, until the later end; one that is ended while it is made is there or not."""
    del running
    assert_whole(host, both(host, f"exempt {CHINA} --for 1h", f"exempt {CHINA} --for 2h"), (0, 0))
    [one] = host.geodrop.good("exempt", "--json").json_lines
    assert one["seconds"] > 3_600
    assert_whole(host, both(host, f"exempt {RUSSIA} --for 1h", f"exempt {RUSSIA} --end"), (0, 0), (0, 65))
    assert len(host.geodrop.good("exempt", "--json").json_lines) in {1, 2}


def test_by_hand(host: Host, running: Daemon) -> None:
    """Beside a daemon a load by hand is refused (75). Without a daemon one of two changes is refused, or waits."""
    geodrop = host.geodrop
    files = {}
    for code in ("RU", "US"):
        host.deny(code)
        text = (host.folder / "policy.yaml").read_text()
        files[code] = geodrop.compile(text, host.folder / "country.mmdb", name=code)
    host.deny("RU")
    assert_whole(host, both(host, f"load {files['US']}", "reload"), (75, 0))
    running.end()
    until(lambda: not running.control.exists())
    either = (0, 0), (0, 75), (75, 0)
    assert_whole(host, both(host, f"load {files['RU']}", f"load {files['US']}"), *either)
    geodrop.good("load", str(files["RU"]))
    geodrop.good("load", "--confirm-within", "1h", str(files["US"]))
    assert_whole(host, both(host, "rollback", f"load {files['US']}"), *either)
    geodrop.run("rollback")
    assert_whole(host, both(host, "pause --for 1h", f"exempt {CHINA} --for 1h"), *either)
    assert_whole(host, both(host, "resume", f"load {files['RU']}"), *either)
