# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from geodrop.plan.judge import Judge
from geodrop.ruleset.explain import explain
from tests.support.databases import country
from tests.unit.plan.conftest import POLICY

if TYPE_CHECKING:
    from tests.unit.plan.conftest import Compile

LOCAL = ip_address("192.0.2.1")
TWO = POLICY + "  rest:\n    default: deny\n    unknown: deny\n    allow: [US]\n"


@pytest.mark.parametrize(
    "address",
    [
        *("1.0.0.1", "2.0.0.1", "5.5.5.5", "9.9.9.9", "10.0.0.1", "2400::1", "2600::1"),
        *("2002:100:1::", "64:ff9b::a00:1", "2001:0:1:1:1:1:feff:fffe", "::ffff:5.0.0.1"),
    ],
)
def test_every_address_is_judged_as_explain_does(ruleset: Compile, address: str) -> None:
    """Verdict, rung and line are those that `explain` tells, embedded IPv4 included; asked twice, the same."""
    found = ruleset(TWO)
    judge = Judge(found, ["api", "rest"])
    told = list(explain(found, ip_address(address), 0))
    for _ in range(2):
        rows = judge.rows(ip_address(address))
        assert [(one.row.verdict == "drop", one.row.rung, one.row.line) for one in rows] == [
            (one.would_drop, one.rung, one.line) for one in told
        ]
    assert judge.dropped(ip_address(address)) == [one.service for one in told if one.would_drop]


def test_the_service_that_takes_a_packet_decides(ruleset: Compile) -> None:
    """A packet is judged by the services that take it; never-drop ports pass."""
    judge = Judge(ruleset(TWO), ["api", "rest"])
    china, russia = ip_address("1.0.0.1"), ip_address("5.0.0.1")
    assert judge.packet(russia, LOCAL, 443, established=False) is None
    said = judge.packet(china, LOCAL, 443, established=False)
    assert said is not None
    assert (said[0], said[1].region, said[1].row.line) == ("api", "CN", "CN")
    said = judge.packet(russia, LOCAL, 80, established=False)
    assert said is not None
    assert said[0] == "rest"
    assert judge.packet(russia, LOCAL, 22, established=False) is None
    assert judge.takers(LOCAL, 22) == []


def test_open_connections_that_are_kept(ruleset: Compile) -> None:
    """With `established: keep` only new connections are dropped."""
    judge = Judge(ruleset(POLICY + "    established: keep\n"), ["api"])
    china = ip_address("1.0.0.1")
    assert judge.packet(china, LOCAL, 443, established=True) is None
    assert judge.packet(china, LOCAL, 443, established=False) is not None


def test_who_only_counts_drops_nothing(ruleset: Compile) -> None:
    """A service that is not among those that drop lets everything pass, and so does no ruleset at all."""
    china = ip_address("1.0.0.1")
    for judge in (Judge(ruleset(), []), Judge(None, [])):
        assert judge.dropped(china) == []
        assert judge.packet(china, LOCAL, 443, established=False) is None


def test_a_region_where_no_service_asks_for_it(ruleset: Compile) -> None:
    """Where a prefix decides for every service, the ruleset does not tell the country: then the prefix is named."""
    judge = Judge(ruleset(POLICY.replace("[CN]", "[CN, 5.0.0.0/9]")), ["api"])
    [judged] = judge.rows(ip_address("5.0.0.1"))
    assert judged.region == "5.0.0.0/9"


def test_a_list_drawn_from_databases_is_named(ruleset: Compile) -> None:
    """Where such a list decides, it is named also if another service asks for the region."""
    world = {"1.0.0.0/8": country("CN"), "2.0.0.0/8": {**country("US"), "asn": "AS64496"}}
    policy = TWO.replace("services:", "lists: {cloud: {asn: [64496]}}\nservices:", 1).replace(
        "[CN]", "[CN, 'list:cloud']", 1
    )
    judge = Judge(ruleset(policy, world), ["api", "rest"])
    assert [one.region for one in judge.rows(ip_address("2.0.0.1"))] == ["list:cloud", "US"]
