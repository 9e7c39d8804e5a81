# SPDX-License-Identifier: Apache-2.0
import re
from typing import Any

import pytest

from geodrop.cli.status import UNSIGNED, describe
from geodrop.report.state import State
from tests.unit.test_messages import Terminal

GOOD = {
    "state": "enforcing",
    "enforcing": True,
    "healthy": True,
    "problems": [],
    "generation": 42,
    "digest": "ab" * 32,
    "since": "2026-01-01T00:00:00Z",
    "policy": {"name": "policy.yaml", "sha256": "cd" * 32},
    "databases": [
        {
            "name": "country.mmdb",
            "type": "Country",
            "sha256": "ef" * 32,
            "built": 1_760_000_000,
            "roles": [{"name": "country", "ipv4": 1 << 31, "ipv6_48s": 9}],
        }
    ],
    "dropped": None,
    "last_good": "ab" * 32,
    "unloaded": False,
    "paused": False,
    "held": [],
    "paused_until": None,
    "paused_why": None,
    "rolled_back": False,
    "confirm": None,
    "undone": None,
    "last_reload": None,
    "repaired": 0,
    "repairs": [],
    "daemon": False,
    "change": None,
    "last_failure": None,
    "exemptions": [],
    "judged": ["eth0"],
    "interfaces": [{"name": "eth0", "engine": "xdp", "attach": "native", "links": ["eth0"]}],
    "services": [
        {
            "name": "api",
            "effective": "monitor",
            "starts": "2030-01-01T00:00:00Z",
            "counted_as_other": 0,
            "share": 1.0,
            "ramp": None,
        },
    ],
}


def test_in_force() -> None:
    """A glance shows what is in force, where, and since when each service drops."""
    text = describe(GOOD)
    assert text.startswith("enforcing  generation 42 since 2026-01-01T00:00:00Z\n")
    for part in (
        "policy      policy.yaml; digest abababababab",
        "database    country.mmdb, built 2025-10-09 (",
        "; Country, digest efefefefefef; country of 50.0% of IPv4",
        "eth0 (xdp, native)",
        "api: monitor, starts 2030-01-01",
    ):
        assert part in text


def test_who_signed_it() -> None:
    """The signer is named; a ruleset from before the demand is said to be that. Without a demand there is no line."""
    signature = {"principal": "alice\x1b", "key": "SHA256:x", "compiled": "2026-01-01T00:00:00Z"}
    said = describe(GOOD | {"signature": signature})
    assert "signed      by alice\\x1b, key SHA256:x, compiled 2026-01-01T00:00:00Z\n" in said
    for by, why in UNSIGNED.items():
        nobody = describe(GOOD | {"signature": dict.fromkeys(signature) | {"accepted": by}})
        assert f"signed      no: {why}\n" in nobody
    assert "never accepted" in describe(GOOD | {"signature": dict.fromkeys(signature)})
    assert "signed" not in describe(GOOD | {"signature": None})


def test_what_is_not_counted_by_region() -> None:
    """The line of the service says so; there is no such text if all regions have counters."""
    service = {
        "name": "api",
        "effective": "enforce",
        "starts": None,
        "counted_as_other": 1212,
        "share": 1.0,
        "ramp": None,
    }
    said = "1,212 regions count as `other` on nftables; xdp counts all"
    assert said in describe({**GOOD, "services": [service]})
    assert "other" not in describe(GOOD)


@pytest.mark.parametrize("state", list(State))
def test_the_first_word_is_the_state(state: State) -> None:
    """The text begins with the word that --json has too."""
    assert re.split(":|  ", describe({**GOOD, "state": str(state)}), maxsplit=1)[0] == state


def test_repaired() -> None:
    """The line says how often, and which program was the last."""
    repair = {"time": "2030-01-01T00:00:00Z", "what": "table gone", "culprit": "nft (process 7)"}
    text = describe({**GOOD, "repaired": 3, "repairs": [repair]})
    assert "repaired    3 times, last 2030-01-01T00:00:00Z: table gone; by nft (process 7)" in text


def test_degraded() -> None:
    """Problems come first."""
    first = "enforcing, but degraded  generation 42 since 2026-01-01T00:00:00Z"
    text = describe({**GOOD, "state": "enforcing, but degraded", "problems": ["chain g42: expected 3 rules, found 2"]})
    assert text.splitlines()[:2] == [first, "  problem     chain g42: expected 3 rules, found 2"]


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        ({"unloaded": True}, "unloaded on request"),
        ({"judged": []}, "generation 42 judges no interface that is there (eth0)"),
        ({"judged": [], "interfaces": []}, "generation 42 judges no interface that is there"),
        ({}, "generation 42 is in force, and a denied source passes"),
        ({"generation": 0}, "ruleset abababababab was in force and is gone from the kernel"),
        ({"generation": 0, "last_good": ""}, "nothing has been loaded"),
    ],
)
def test_nothing_in_force(differs: dict[str, Any], why: str) -> None:
    """The text says whether that was requested, and what was in force before."""
    assert describe({**GOOD, "state": "not enforcing", **differs}) == f"not enforcing: {why}"


def test_what_is_out_of_the_ordinary() -> None:
    """A pause with its end and reason, a rollback, and a later request that failed."""
    failure = {"origin": "reload", "time": "2026-01-01T00:00:00Z", "error": "policy.yaml:3:1: error: no"}
    odd = {
        **GOOD,
        "state": "paused",
        "paused": True,
        "paused_why": "incident",
        "rolled_back": True,
        "last_failure": failure,
    }
    lines = describe(odd).splitlines()
    assert lines[0].startswith("paused  generation 42")
    assert lines[1:4] == [
        "  paused      until resume: incident; nothing is dropped",
        "  rolled back until the next reload",
        "  failed      reload of 2026-01-01T00:00:00Z: policy.yaml:3:1: error: no",
    ]
    assert "until 2026-01-01T02:00:00Z" in describe({**odd, "paused_until": "2026-01-01T02:00:00Z"})


def test_daemon_and_its_last_reload() -> None:
    """The text says whether a daemon runs, and how the last reload went; without one, that the kernel goes on."""
    last = {"time": "2026-01-02T03:04:05Z", "good": True, "text": "generation 41 -> 42: 3 regions moved to drop"}
    text = describe({**GOOD, "daemon": True, "last_reload": last})
    assert "  reload      2026-01-02T03:04:05Z: generation 41 -> 42: 3 regions moved to drop\n" in text
    assert text.endswith("  daemon      running")
    assert "the kernel judges without it" in describe(GOOD)


def test_nothing_in_force_and_why() -> None:
    """A policy that was refused at the first start is listed below."""
    text = describe({**GOOD, "state": "not enforcing", "healthy": False, "problems": ["p.yaml:2:1: error: bad"]})
    assert text.endswith("  problem     p.yaml:2:1: error: bad")


def test_each_trouble_once() -> None:
    """A failed reload is a problem of the daemon, an attempt in the history, and the last reload: it is shown once."""
    error = "policy.yaml:3:1: error: no"
    failed = {
        **GOOD,
        "state": "enforcing, but degraded",
        "daemon": True,
        "problems": [f"the reload of 2026-01-01T00:00:00Z failed: {error}"],
        "last_reload": {"time": "2026-01-01T00:00:00Z", "good": False, "text": error},
        "last_failure": {"origin": "reload", "time": "2026-01-01T00:00:00Z", "error": error},
    }
    assert describe(failed).count(error) == 1
    load = {"origin": "load", "time": "2026-01-01T00:00:00Z", "error": "no"}
    assert "  failed      load of 2026-01-01T00:00:00Z: no" in describe({**failed, "last_failure": load})


@pytest.mark.parametrize(
    ("dropped", "text"),
    [
        ({"packets": 1_234, "seconds": 60}, "1,234 packets in the last minute"),
        ({"packets": 0, "seconds": 15}, "0 packets in the last 15 s"),
        ({"packets": 5, "seconds": 80}, "5 packets in the last 80 s"),
    ],
)
def test_drops_of_late(dropped: dict[str, int], text: str) -> None:
    """The text says how many packets the daemon counted, and over how long; without a daemon there is no such line."""
    assert f"  dropped     {text}\n" in describe({**GOOD, "dropped": dropped})
    assert "dropped  " not in describe(GOOD)


def test_words_are_wrapped_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer than the terminal is wide, and problems stay in a column; elsewhere a line is not wrapped."""
    problem = "interface eth1: not judged, since it came after the load and no daemon runs; next: geodrop reload " * 2
    status = {**GOOD, "state": "enforcing, but degraded", "problems": [problem]}
    assert f"  problem     {problem}\n" in describe(status)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", Terminal())
    lines = describe(status).splitlines()
    assert max(map(len, lines[1:])) <= 60
    assert re.match(" {14}[a-z]", lines[2])
    assert " ".join(problem.split()) in " ".join(" ".join(lines).split())
    monkeypatch.delenv("NO_COLOR")
    assert describe(status).splitlines()[1].startswith("\x1b[31m  problem\x1b[0m     ")


def test_a_change_that_is_under_way() -> None:
    """A change under way is shown with its age, whatever is in force meanwhile."""
    change = {"origin": "reload", "since": "2026-01-01T00:00:00Z", "seconds": 3.14}
    for state in ("enforcing", "not enforcing"):
        assert "  change      under way for 3 s: reload" in describe({**GOOD, "state": state, "change": change})


def test_exempt_sources_and_shares() -> None:
    """The first of the exempt sources, how many more there are, and which share is dropped by which clock."""
    exempt = {"source": "1.2.3.4/32", "until": "2030-01-01T00:00:00Z", "in_force": True}
    ramp = {"clock": "2029-12-31T00:00:00Z", "next": {"from": "2030-01-02T00:00:00Z", "share": 1.0}}
    service = {**GOOD["services"][0], "effective": "enforce", "starts": None, "share": 0.005, "ramp": ramp}  # type: ignore[index]  # a list
    text = describe({**GOOD, "exemptions": [exempt, exempt], "services": [service]})
    assert "1.2.3.4/32 until 2030-01-01T00:00:00Z and 1 more; see: geodrop exempt" in text
    assert "api: enforce, 0.5% of sources at 2029-12-31T00:00:00Z; 100% from 2030-01-02T00:00:00Z" in text
    assert "exempt" not in describe({**GOOD, "exemptions": [{**exempt, "in_force": False}]})
