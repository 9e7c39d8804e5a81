"""Two operators at the same time: each gets a clear answer, and what is in force afterwards is whole."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.support.daemons import Daemon, together
from tests.support.waiting import until

if TYPE_CHECKING:
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


def test_a_reload_and_broken_glass(host: Host, running: Daemon) -> None:
    """A pause or an unload does not wait for a load: this is given up (75), or is in force before or after it."""
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
