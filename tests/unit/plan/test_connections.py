# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from geodrop.linux.connections import TcpConnection
from geodrop.plan.connections import Cut, connections_cut
from geodrop.plan.judge import Judge
from tests.unit.plan.conftest import POLICY

if TYPE_CHECKING:
    from tests.unit.plan.conftest import Compile

LOCAL = ip_address("192.0.2.1")
RUSSIA, STATES, CHINA = "5.0.0.1", "2.0.0.1", "1.0.0.1"
ALLOW = POLICY.replace("default: allow", "default: deny").replace("deny: [CN]", "allow: [US]")


def connections(*peers: str, port: int = 443) -> list[TcpConnection]:
    """Return connections of these peers."""
    return [TcpConnection(ip_address(peer), LOCAL, port) for peer in peers]


def cut(old: Judge, new: Judge, *found: TcpConnection) -> Cut:
    """Return what is cut, on a host that is LOCAL."""
    return connections_cut(old, new, found, [LOCAL])


def test_what_is_newly_dropped_is_cut(ruleset: Compile) -> None:
    """A connection counts if the new ruleset drops it and the one in force does not; by service and region."""
    old, new = Judge(ruleset(), ["api"]), Judge(ruleset(ALLOW), ["api"])
    found = cut(old, new, *connections(RUSSIA, RUSSIA, STATES, CHINA, "2a02::1"))
    assert found.as_json() == {"open": 5, "cut": [{"service": "api", "region": "RU", "count": 3}]}
    assert found.left_out == {("api", "RU"): 3}


def test_a_line_that_denies_leaves_nobody_out(ruleset: Compile) -> None:
    """Only what no line names is told as left out of an allow list."""
    old, new = Judge(ruleset(), ["api"]), Judge(ruleset(POLICY.replace("CN", "RU")), ["api"])
    found = cut(old, new, *connections(RUSSIA))
    assert (found.cut, found.left_out) == ({("api", "RU"): 1}, {})


def test_what_no_service_takes(ruleset: Compile) -> None:
    """Other ports, never-drop ports and connections of the host with itself are not counted."""
    old, new = Judge(None, []), Judge(ruleset(ALLOW), ["api"])
    elsewhere = [*connections(RUSSIA, port=80), *connections(RUSSIA, port=22)]
    assert cut(old, new, *elsewhere, *connections("127.0.0.1", str(LOCAL))).as_json() == {"open": 0, "cut": []}


def test_who_is_exempt_is_not_cut(ruleset: Compile) -> None:
    """A connection of an exempt network goes on."""
    old, new = Judge(ruleset(), ["api"]), Judge(ruleset(ALLOW), ["api"])
    exempt = [ip_network("5.0.0.0/31"), ip_network("2a02::/32")]
    found = connections_cut(old, new, connections(RUSSIA, "5.0.0.2", "2a02::1"), [LOCAL], exempt)
    assert found.as_json() == {"open": 3, "cut": [{"service": "api", "region": "RU", "count": 1}]}


def test_connections_that_cannot_be_read() -> None:
    """An unknown number is null, and not none."""
    assert Cut(known=False).as_json() == {"open": None, "cut": []}
