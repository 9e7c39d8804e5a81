# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import DataError, UnavailableError
from geodrop.linux.connections import TcpConnection
from geodrop.linux.routes import Surroundings
from geodrop.plan import plan as module
from geodrop.plan.operators import SshPeer
from geodrop.plan.plan import HostFacts, make_plan, read_facts
from tests.unit.plan.conftest import POLICY, differ

if TYPE_CHECKING:
    from typing import Any

    from geodrop.ruleset.model import Ruleset
    from tests.unit.plan.conftest import Compile

NOW = 1_700_000_000
LOCAL = ip_address("192.0.2.1")
RUSSIA = TcpConnection(ip_address("5.0.0.1"), LOCAL, 443)
SSH = SshPeer(ip_address("5.0.0.9"), LOCAL, 2222)
FACTS = HostFacts([RUSSIA], Surroundings((LOCAL,), (), ()), [], [SSH])
DENY_RUSSIA = POLICY.replace("[CN]", "[CN, RU]") + "limits: {blast_radius: none}\n"


def planned(old: Ruleset | None, new: Ruleset, facts: HostFacts = FACTS, paused: int = 0) -> dict[str, Any]:
    """Return the object of a plan."""
    return make_plan(old, new, differ(old, new), facts, now=NOW, paused=paused).as_json()


def test_the_whole_object(ruleset: Compile) -> None:
    """Every part that scripts read is there: what moves, what is cut, what is the host's own, what holds it."""
    old, new = ruleset(), ruleset(DENY_RUSSIA)
    found = planned(old, new)
    assert (found["schema"], found["changes"], found["digest"], found["against"]) == (1, True, new.digest, old.digest)
    [service] = found["services"]
    [move] = service["moves"]
    assert (service["name"], move["region"], move["from"], move["to"]) == ("api", "RU", "accept", "drop")
    assert (move["ipv4_addresses"], move["ipv6_48s"], move["line"]) == (1 << 24, 1 << 32, "policy.yaml:7 deny: RU")
    assert service["blast_radius"]["ipv6"] == pytest.approx(1 / 3)
    assert found["connections"] == {"open": 1, "cut": [{"service": "api", "region": "RU", "count": 1}]}
    assert found["own"] == [{"what": "ssh", "address": "5.0.0.9", "service": "api"}]
    assert [one["limit"] for one in found["held"]] == ["ssh_peer"]
    assert found["warnings"] == []


def test_nothing_changes(ruleset: Compile) -> None:
    """The ruleset in force against itself changes nothing and holds nothing."""
    same = ruleset(DENY_RUSSIA)
    found = planned(same, same)
    assert (found["changes"], found["held"], found["own"], found["connections"]["cut"]) == (False, [], [], [])


def test_a_load_that_would_be_refused(ruleset: Compile) -> None:
    """Why it would be refused is in the object with exit code and next step, beside what it would change."""
    old, new = ruleset(), ruleset(DENY_RUSSIA)
    refused = DataError("not signed", "sign it")
    found = make_plan(old, new, differ(old, new), FACTS, now=NOW, refused=refused).as_json()
    assert found["refused"] == {"exit": 65, "error": "not signed", "next_step": "sign it"}
    assert found["changes"] is True
    assert planned(old, new)["refused"] is None


def test_the_first_generation_is_not_held(ruleset: Compile) -> None:
    """With nothing in force there is nothing to compare with: all that it drops is told, and nothing holds it."""
    found = planned(None, ruleset(POLICY.replace("CN", "RU")))
    assert (found["against"], found["changes"], found["held"]) == (None, True, [])
    assert [move["region"] for move in found["services"][0]["moves"]] == ["RU"]
    assert found["connections"]["cut"][0]["count"] == 1


def test_only_what_drops_now_cuts(ruleset: Compile) -> None:
    """Monitor, a later start and a pause cut nothing; the last two are told, and the host's own counts even so."""
    old = ruleset()
    monitor = planned(old, ruleset(DENY_RUSSIA.replace("deny: [", "mode: monitor\n    deny: [")))
    assert (monitor["connections"]["cut"], monitor["own"], monitor["warnings"]) == ([], [], [])
    later = planned(old, ruleset(DENY_RUSSIA.replace("deny: [", "starts: 2030-01-01T00:00:00Z\n    deny: [")))
    assert later["connections"]["cut"] == []
    assert "drops nothing before 2030-01-01T00:00:00Z" in later["warnings"][0]
    assert len(later["own"]) == 1
    paused = planned(old, ruleset(DENY_RUSSIA), paused=NOW + 60)
    assert paused["connections"]["cut"] == []
    assert "paused" in paused["warnings"][0]
    assert planned(old, ruleset(DENY_RUSSIA), paused=NOW)["connections"]["cut"]


def test_an_allow_list_that_leaves_out(ruleset: Compile) -> None:
    """A warning names regions with open connections that no line of the allow list names."""
    allow = POLICY.replace("default: allow", "default: deny").replace("deny: [CN]", "allow: [US]")
    found = planned(ruleset(), ruleset(allow))
    assert found["warnings"] == ["api: its allow list leaves out regions with open connections: RU (1)"]


def test_what_cannot_be_read_is_said(ruleset: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the kernel's tables a plan is made all the same, and says what it does not know."""

    def fail() -> None:
        raise UnavailableError("no netlink")

    monkeypatch.setattr(module, "read_connections", fail)
    monkeypatch.setattr(module, "read_surroundings", fail)
    monkeypatch.setattr(module, "read_resolvers", lambda: ([], []))
    facts = read_facts(None)
    assert (facts.connections, facts.operators, len(facts.warnings)) == (None, [], 2)
    found = planned(ruleset(), ruleset(DENY_RUSSIA), replace(facts, operators=[SSH]))
    assert found["connections"]["open"] is None
    assert len(found["warnings"]) == 2
