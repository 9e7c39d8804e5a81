# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from geodrop.ruleset.takers import TCP, UDP, covered, takers
from tests.unit.ruleset.test_model import META

LOCAL, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.9")
ANY = replace(META.services[0], name="all", catch_all=True, tcp=(), udp=(), protocols=(), addresses=())
WEB = replace(ANY, name="web", catch_all=False, tcp=((80, 80), (443, 445)))
HERE = replace(ANY, name="here", catch_all=False, addresses=("192.0.2.0/29",))
PING = replace(ANY, name="ping", catch_all=False, protocols=(1, 58))


@pytest.mark.parametrize(
    ("protocol", "port", "local", "expected"),
    [
        (TCP, 443, OTHER, ["web"]),
        (TCP, 446, OTHER, ["all"]),
        (UDP, 443, OTHER, ["all"]),
        (TCP, 22, LOCAL, ["here"]),
        (TCP, 445, LOCAL, ["web", "here"]),
        (1, 0, OTHER, ["ping"]),
    ],
)
def test_who_takes_a_packet(protocol: int, port: int, local: str, expected: list[str]) -> None:
    """Ports, protocols and local addresses decide; a catch-all takes the rest."""
    meta = replace(META, services=(ANY, WEB, HERE, PING))
    assert [one.name for one in takers(meta, protocol, port, ip_address(local))] == expected


def test_a_service_in_monitor_takes_nothing_away() -> None:
    """A catch-all takes what only services in monitor take as well."""
    meta = replace(META, services=(ANY, replace(WEB, mode="monitor")))
    assert [one.name for one in takers(meta, TCP, 80, OTHER)] == ["web", "all"]


def test_ranges_include_their_ends() -> None:
    """A port is covered from the first to the last one of a range."""
    assert [port for port in range(8) if covered(((1, 2), (5, 6)), port)] == [1, 2, 5, 6]
