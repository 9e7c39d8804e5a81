# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from geodrop import utc
from geodrop.fleet.compare import AHEAD, OLD, Fleet, compare
from geodrop.fleet.folder import read_folder
from tests.support.fleets import STATUS, fleet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOW = utc.epoch(STATUS["observed"]["time"])
GOOD: dict[str, Mapping[str, Any]] = {"a": {}, "b": {}, "c": {}}


def compared(folder: Path, hosts: Mapping[str, Mapping[str, Any]], now: float = NOW) -> Fleet:
    """Compare hosts, given by what differs from a good status."""
    return compare(read_folder(str(fleet(folder, hosts))), now)


def at(seconds: float) -> dict[str, Any]:
    """Return an answer that was given this long after the others."""
    return {"observed": STATUS["observed"] | {"time": utc.moment(NOW + seconds)}}


def test_alike(tmp_path: Path) -> None:
    """Generations are numbers of each host, and drops, repairs and databases' dates say nothing against a host."""
    own: dict[str, Any] = {"generation": 7, "dropped": None, "repaired": 5, "databases": []}
    found = compared(tmp_path, GOOD | {"d": own})
    assert found.odd == ()
    assert [host.name for host in found.hosts] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"digest": "3f" * 32}, "digest 3f3f3f3f3f3f; 3 of 4 hosts: 9a9a9a9a9a9a"),
        ({"digest": ""}, "digest none; 3 of 4 hosts: 9a9a9a9a9a9a"),
        ({"version": "0.9"}, "version 0.9; 3 of 4 hosts: 1.0.0"),
        ({"state": "monitoring"}, "state monitoring; 3 of 4 hosts: enforcing"),
        ({"state": "paused"}, "state paused; 3 of 4 hosts: enforcing"),
        ({"state": "enforcing, but degraded", "healthy": False, "problems": ["p"]}, "problem: p"),
        ({"healthy": False, "problems": ["p"]}, "problem: p"),
        ({"interfaces": []}, "judged by none; 3 of 4 hosts with engine auto: xdp native"),
        (at(-OLD - 1), "answered 1 h 0 min before the newest answer, or its clock is behind"),
        (at(AHEAD + 1), "its clock is 1 min 1 s ahead of this machine's"),
        ({"unreachable": True, "message": "no route"}, "no route"),
        ({"error": "e", "next_step": "n"}, "e; next: n"),
    ],
)
def test_odd(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """The one host that differs comes first, with the one reason."""
    found = compared(tmp_path, GOOD | {"d": change})
    assert [(host.name, host.reasons) for host in found.odd] == [("d", (reason,))]
    assert found.hosts[0] == found.odd[0]


@pytest.mark.parametrize("change", [at(-OLD), at(AHEAD)])
def test_near_enough(tmp_path: Path, change: dict[str, Any]) -> None:
    """Fetching from many hosts takes a while, and no two clocks are equal."""
    assert compared(tmp_path, GOOD | {"d": change}).odd == ()


def test_a_clock_that_is_ahead_makes_no_other_host_old(tmp_path: Path) -> None:
    """The newest answer is that of a host whose clock can be right."""
    found = compared(tmp_path, GOOD | {"d": at(10 * OLD)})
    assert [host.name for host in found.odd] == ["d"]
    assert found.usual.newest == NOW


def test_engines_are_compared_with_those_who_ask_for_the_same(tmp_path: Path) -> None:
    """agent.yaml is of each host: one that asks for nftables has it; one that asks for auto and lacks xdp is odd."""
    nftables = {"interfaces": [{"name": "eth0", "engine": "nftables", "attach": None, "links": ["eth0"]}]}
    found = compared(tmp_path, GOOD | {"d": nftables | {"engine": "nftables"}, "e": nftables})
    assert [(host.name, host.reasons) for host in found.odd] == [
        ("e", ("judged by nftables; 3 of 4 hosts with engine auto: xdp native",))
    ]


def test_two_halves(tmp_path: Path) -> None:
    """Where two values are as common, neither is usual: each host is odd."""
    found = compared(tmp_path, {"a": {}, "b": {"digest": "3f" * 32}})
    assert found.usual.digest.value is None
    assert [host.reasons for host in found.odd] == [
        ("digest 9a9a9a9a9a9a; no other is more common",),
        ("digest 3f3f3f3f3f3f; no other is more common",),
    ]


def test_alike_and_unwell(tmp_path: Path) -> None:
    """A whole fleet that is paused is not well, though no host differs."""
    found = compared(tmp_path, {name: {"state": "paused"} for name in "ab"})
    assert [host.reasons for host in found.odd] == [("state paused, as usual here",)] * 2


def test_a_fleet_in_monitor_is_well(tmp_path: Path) -> None:
    """That is what its policy asks for."""
    assert compared(tmp_path, {name: {"state": "monitoring"} for name in "ab"}).odd == ()


def test_all_silent(tmp_path: Path) -> None:
    """Then nothing is usual, and nothing is newest."""
    found = compared(tmp_path, {"a": {"unreachable": True}})
    assert (found.usual.digest.value, found.usual.newest, len(found.odd)) == (None, None, 1)


def test_the_order(tmp_path: Path) -> None:
    """The worst first: silent, not enforcing, unwell, different, with a note, the rest; then by number."""
    hosts: dict[str, dict[str, Any]] = {
        "e10": {},
        "e9": {},
        "e11": {},
        "note": {"last_failure": {"time": "t", "origin": "load", "error": "e"}},
        "waits": {"confirm": {"deadline": "2026-01-02T15:05:00Z"}},
        "other": {"version": "0.9"},
        "unwell": {"state": "paused"},
        "open": {"state": "not enforcing", "healthy": False},
        "silent": {"unreachable": True},
    }
    found = compared(tmp_path, hosts)
    assert [host.name for host in found.hosts] == [
        *("silent", "open", "unwell", "other", "note", "waits", "e9", "e10", "e11")
    ]
    assert [host.notes for host in found.hosts[4:6]] == [
        ("failed: load of t: e",),
        ("not confirmed: goes back at 2026-01-02T15:05:00Z",),
    ]


def test_more_problems_than_are_kept(tmp_path: Path) -> None:
    """The rest is counted."""
    problems = {"healthy": False, "problems": ["p"] * 10}
    [host] = compared(tmp_path, {"a": problems}).odd
    assert host.reasons[-1] == "2 more problems; next: geodrop status on the host"
