# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop.errors import DataError
from geodrop.plan.plan import make_plan
from geodrop.plan.told import told
from tests.unit.plan.conftest import POLICY, differ
from tests.unit.plan.test_plan import DENY_RUSSIA, FACTS, NOW

if TYPE_CHECKING:
    from geodrop.ruleset.model import Ruleset
    from tests.unit.plan.conftest import Compile


def text(old: Ruleset | None, new: Ruleset) -> str:
    """Return the lines of a plan."""
    plan = make_plan(old, new, differ(old, new), FACTS, now=NOW).as_json()
    return "\n".join(f"{word:<6}{line}" for word, line in told(plan))


def test_a_change(ruleset: Compile) -> None:
    """What moves by which line, how far it reaches, what is cut, what is the host's own, and how to go on."""
    old, new = ruleset(), ruleset(POLICY.replace("[CN]", "[RU]"))
    digest = new.digest[:12]
    assert text(old, new).splitlines() == [
        "api   drop    RU  16.8 M IPv4, 4.3 G IPv6 /48s   policy.yaml:7 deny: RU",
        "      accept  CN  16.8 M IPv4, 4.3 G IPv6 /48s   policy.yaml:5 default: allow",
        "      blast radius 0.9% of IPv4, 66.7% of IPv6 (limit 5%)",
        "open  1 connection to api, 1 would be cut: RU 1",
        "host  your SSH peer 5.0.0.9 newly dropped by api",
        "held  api: 66.7% of IPv6 /48s would change, limit 5%",
        "held  your SSH connection from 5.0.0.9 (RU) would be dropped by api",
        f"digest{digest}; accept exactly this: geodrop reload --accept {digest}",
    ]


def test_no_change(ruleset: Compile) -> None:
    """One line says that nothing would change, and which ruleset is in force."""
    same = ruleset()
    assert text(same, same).splitlines()[0] == f"plan  nothing would change ({same.digest[:12]} in force)"


def test_a_change_that_drops_nothing_else(ruleset: Compile) -> None:
    """A comment changes the ruleset and nothing that it drops."""
    said = text(ruleset(), ruleset(f"# new\n{POLICY}"))
    assert said.startswith("plan  nothing that is dropped changes\n")
    assert "none would be cut" in said
    assert "host  none of its own" in said
    assert said.endswith("try it: geodrop reload")


def test_the_first_one(ruleset: Compile) -> None:
    """With nothing in force, that is said first."""
    said = text(None, ruleset(DENY_RUSSIA))
    assert said.startswith("plan  nothing is in force: ")
    assert "\napi   added\n" in said
    assert "(no limit)" in said


def test_one_that_would_be_refused(ruleset: Compile) -> None:
    """The reason is a line, also where nothing would change; the last line has its next step, not that of a limit."""
    old, new = ruleset(), ruleset(POLICY.replace("[CN]", "[RU]"))
    for other in (old, new):
        plan = make_plan(old, other, differ(old, other), FACTS, now=NOW, refused=DataError("not signed", "sign it"))
        lines = list(told(plan.as_json()))
        assert lines[-2:] == [("refused", "not signed"), ("digest", f"{other.digest[:12]}; sign it")]


def test_settings_and_ports(ruleset: Compile) -> None:
    """A service that begins to drop, takes other packets, or other never-drop ports."""
    old = POLICY.replace("    deny:", "    mode: monitor\n    deny:")
    new = POLICY.replace("2222", "8443") + "never_drop: {ports: {tcp: [22, 80]}}\n"
    said = text(ruleset(old), ruleset(new))
    assert "api   mode monitor -> enforce\n      match changes: it takes other packets\n" in said
    assert "ports the never-drop ports change" in said


def plan(**parts: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of the object
    """Return the object of a plan with one service."""
    moves = parts.pop("moves", [])
    service = {"name": "api", "state": "changed", "moves": moves, "settings": {}, "match": False}
    service["blast_radius"] = {"ipv4": 0.1, "ipv6": 0.0}
    base = {"changes": True, "digest": "d" * 64, "against": "e" * 64, "held": [], "limit": 0.05, "own": []}
    base |= {"services": [service], "never_drop_ports": False, "connections": {"open": 0, "cut": []}}
    return base | parts


def test_as_many_as_a_person_reads() -> None:
    """Of hundreds of regions the largest are named, and the others are one line with their sum."""
    moves = [
        {"region": f"R{n}", "to": "drop", "ipv4_addresses": 1_000, "ipv6_48s": 2, "line": "p:1 default: deny"}
        for n in range(200)
    ]
    lines = [line for _, line in told(plan(moves=moves))]
    assert lines[0].startswith("drop    R0          1,000 IPv4,   2 IPv6 /48s   p:1 default: deny")
    assert lines[11] == "drop    189 more  189,000 IPv4, 378 IPv6 /48s"
    assert lines[12].startswith("blast radius")
    cut = [{"service": "api", "region": f"R{n}", "count": 20 - n} for n in range(20)]
    said = dict(told(plan(connections={"open": 1_234, "cut": cut})))["open"]
    assert said.startswith("1,234 connections to api, 210 would be cut: R0 20, R1 19, ")
    assert said.endswith(" and 12 more")


def test_what_is_not_known() -> None:
    """Connections that cannot be read are not told as none."""
    lines = dict(told(plan(connections={"open": None, "cut": []})))
    assert lines["open"] == "which connections are open is not known"
