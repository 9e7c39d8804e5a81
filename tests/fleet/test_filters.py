# SPDX-License-Identifier: Apache-2.0
"""What the rollout makes of objects as geodrop prints them: deploy/ansible/plugins/filter/rollout.py."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.fleet.hosts import COLLECTION

_spec = importlib.util.spec_from_file_location("rollout", COLLECTION / "plugins/filter/rollout.py")
assert _spec
assert _spec.loader
rollout = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rollout)

DIGEST = "9a41c07be212" + "0" * 52
MOVE = {"region": "BR", "from": "accept", "to": "drop", "ipv4_addresses": 87_300_000, "ipv6_48s": 1204, "line": ""}
BACK = {"region": "VE", "from": "drop", "to": "accept", "ipv4_addresses": 6_900_000, "ipv6_48s": 88, "line": ""}
SERVICE = {
    "name": "api", "state": "changed", "moves": [MOVE, BACK], "settings": {}, "match": False,
    "blast_radius": {"ipv4": 0.025, "ipv6": 0.004},
}  # fmt: skip
PLAN: dict[str, Any] = {
    "digest": DIGEST, "changes": True, "against": "f" * 64, "held": [], "limit": 0.05, "never_drop_ports": False,
    "services": [SERVICE], "own": [],
    "connections": {"open": 9876, "cut": [{"region": "BR", "count": 35}, {"region": "US", "count": 2}]},
}  # fmt: skip
HELD = {"limit": "blast_radius", "text": "api: 41.3% of IPv4 would change, limit 5%"}


def test_a_plan_is_one_line() -> None:
    """It has what moves and how much of it, the blast radius beside its limit, connections and the digest."""
    assert rollout.plan_line(PLAN) == (
        "api drop BR 87.3 M IPv4; api accept VE 6.9 M IPv4; 2.5% (limit 5%); 37 of 9,876 connections cut; "
        "digest 9a41c07be212"
    )


def test_a_plan_of_nothing_says_so() -> None:
    """A host that has the ruleset already is not said to change."""
    assert rollout.plan_line(PLAN | {"changes": False}) == "nothing would change (9a41c07be212 in force)"


def test_a_plan_names_the_largest_moves_and_counts_the_others() -> None:
    """A line stays a line."""
    moves = [MOVE | {"region": f"R{number}"} for number in range(rollout.NAMED + 3)]
    said = rollout.plan_line(PLAN | {"services": [SERVICE | {"moves": moves}]})
    assert "and 3 more" in said
    assert f"R{rollout.NAMED}" not in said


def test_a_held_plan_names_its_limit_and_what_accepts_it() -> None:
    """Only its own digest accepts it."""
    held = PLAN | {"held": [HELD]}
    said = rollout.plan_holds(held, "")
    assert said.startswith("held: api: 41.3%")
    assert said.endswith("-e geodrop_accept=9a41c07be212")
    assert rollout.plan_holds(held, "f" * 12)
    assert rollout.plan_holds(held, DIGEST[:12]) == ""
    assert rollout.plan_holds(PLAN, "") == ""


def look(time: float, packets: int, **more: object) -> dict[str, Any]:
    """Return a look at a host that is well, whose service api has accepted `packets` packets in all."""
    host = {"installed": True, "exit": 0, "verified": 0, "difference": "", "time": time, **more}
    status = {"state": "enforcing", "problems": [], "services": [{"name": "api"}]}
    counts = [
        {"service": "api", "family": family, "accepted": {"packets": packets // 2, "bytes": 0}} for family in (4, 6)
    ]
    lines = [
        json.dumps(host),
        json.dumps(status),
        *map(json.dumps, counts),
        json.dumps({"service": "api", "dropped": {}}),
    ]
    found: dict[str, Any] = rollout.looked(lines)
    return found


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (6000, 6000, ""),
        (6000, 3000, ""),
        (6000, 2990, "accepted packets of api fell to 50%"),
        (6000, 0, "accepted packets of api fell to 0%"),
        (18, 0, ""),
        (0, 0, ""),
    ],
)
def test_accepted_packets_are_compared_by_the_second(before: int, after: int, fault: str) -> None:
    """Twice as long after as before; half of them must be left, and too few say nothing."""
    first, sampled, reloaded = look(0, 100), look(60, 100 + before), look(70, 50)
    minute = rollout.minute(sampled, first)
    faults = rollout.gate_faults(look(190, 50 + 2 * after), {"exit": 0, "minute": minute}, reloaded, 50)
    assert bool(faults) == bool(fault)
    assert all(fault in one for one in faults)


def test_a_service_that_is_gone_is_not_missed() -> None:
    """A policy may take a service away."""
    minute = [("old", 6000, 100.0)]
    assert rollout.gate_faults(look(60, 100), {"exit": 0, "minute": minute}, look(0, 100), 50) == []


@pytest.mark.parametrize(
    ("before", "now", "well"), [(0, 0, True), (0, 1, False), (1, 1, True), (1, 0, True), (3, 3, False), (1, 3, False)]
)
def test_status_may_not_get_worse(before: int, now: int, well: bool) -> None:  # noqa: FBT001 - a case of a table
    """A host that was degraded before may stay so; nothing in force is never good."""
    faults = rollout.gate_faults(look(60, 0, exit=now), {"exit": before, "minute": []}, look(0, 0), 50)
    assert (faults == []) == well


def test_a_kernel_that_differs_is_a_fault() -> None:
    """What `verify` said is in it."""
    now = look(60, 0, verified=1, difference="api: 3 intervals differ")
    [fault] = rollout.gate_faults(now, {"exit": 0, "minute": []}, look(0, 0), 50)
    assert fault == "verify: api: 3 intervals differ"


def test_what_a_command_said_as_it_failed() -> None:
    """The error of --json with its next step, else stderr, else the exit code."""
    lines = ["{}", json.dumps({"schema": 1, "error": "no daemon runs here", "next_step": "start it"})]
    assert rollout.said({"stdout_lines": lines, "stderr": "x"}) == "no daemon runs here; next: start it"
    assert rollout.said({"stdout_lines": [], "stderr": "sh: not found\n"}) == "sh: not found"
    assert rollout.said({"stdout_lines": [], "stderr": "", "rc": 7}) == "exit 7"
    assert rollout.said({"msg": "x", "timedout": {"period": 60}}) == "hangs: no end within 60 s (geodrop_timeout)"


def test_a_ruleset_that_is_missing_is_named() -> None:
    """With what to do."""
    with pytest.raises(
        ValueError, match=r"/nonexistent/fleet\.ruleset: No such file or directory; next: geodrop compile"
    ):
        rollout.sha256_of("/nonexistent/fleet.ruleset")


def test_a_signature_that_is_missing_is_named() -> None:
    """With the option and the variable that make one."""
    with pytest.raises(ValueError, match=r"ruleset\.sig: No such .*; next: .*--sign KEY \(geodrop_sign\)"):
        rollout.sha256_of("/nonexistent/fleet.ruleset.sig")
