# SPDX-License-Identifier: Apache-2.0
"""Packets that show what the kernel would do: their services, and their expected verdicts."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING

from geodrop.engine.probes import probes
from tests.support.worlds import WORLD, compiled

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.engine.probes import Probe

NOW = 1_700_000_000.0
SERVICES = """
version: 1
never_drop: {prefixes: [1.7.0.0/16, "2400:7::/32"], ports: {tcp: [22, 443]}}
services:
  web: {match: {ports: {tcp: [443, 8000-8500]}}, default: allow, unknown: deny, deny: [CN]}
  dns: {match: {ports: {udp: [53]}}, default: deny, unknown: allow, allow: [US]}
  ping: {match: {protocols: [icmp]}, default: deny, unknown: allow, allow: [US]}
  edge: {match: {protocols: [47], addresses: [203.0.113.0/28]}, default: deny, unknown: allow, allow: [US]}
  later: {match: {ports: {tcp: [6000]}}, default: deny, unknown: deny, allow: [US], starts: 2040-01-01T00:00:00Z}
  trial: {match: {ports: {tcp: [8000]}}, mode: monitor, default: deny, unknown: deny, allow: [US]}
  rest: {default: allow, unknown: allow, deny: [RU]}
"""


def made(policy: str, folder: Path, paused: int = 0) -> dict[str, list[Probe]]:
    """Return the probes by service."""
    found: dict[str, list[Probe]] = {}
    for one in probes(compiled(policy, folder).paused(paused), NOW):
        found.setdefault(one.service, []).append(one)
    return found


def port(probe: Probe) -> tuple[int, int]:
    """Return a probe's protocol and destination port."""
    ipv4 = probe.packet[0] >> 4 == 4
    inner = probe.packet[20 if ipv4 else 40 :]
    return probe.packet[9 if ipv4 else 6], int.from_bytes(inner[2:4], "big")


def test_of_each_service_and_family_a_denied_and_an_accepted_source(tmp_path: Path) -> None:
    """A missing source is left out; a service with IPv4 addresses only has no IPv6 packet."""
    found = made(SERVICES, tmp_path)
    both = {(4, "drop"), (4, "accept"), (6, "drop"), (6, "accept")}
    for service in ("web", "dns", "ping", "rest"):
        assert {(one.source.version, one.expected) for one in found[service]} == both, service
    assert {(one.source.version, one.expected) for one in found["edge"]} == {(4, "drop"), (4, "accept")}


def test_what_a_service_takes(tmp_path: Path) -> None:
    """The port or protocol is the service's, in no never-drop line, and best in no other service."""
    found = made(SERVICES, tmp_path)
    assert {port(one) for one in found["web"]} == {(6, 8500)}  # not 443, which is never dropped, nor 8000 of the trial
    assert {port(one) for one in found["dns"]} == {(17, 53)}
    assert {port(one)[0] for one in found["ping"]} == {1, 58}
    assert {one.packet[20] for one in found["ping"] if one.source.version == 4} == {8}  # an echo is no error
    assert {port(one)[0] for one in found["edge"]} == {47}
    assert {IPv4Address(one.packet[16:20]) for one in found["edge"]} <= set(ip_network("203.0.113.0/28"))
    taken = {443, *range(8000, 8501), 6000, 22}
    assert not {port(one)[1] for one in found["rest"] if port(one)[0] == 6} & taken


def test_what_should_become_of_them(tmp_path: Path) -> None:
    """Nothing is dropped for a service that waits for `starts`; if two services take a packet, one
    suffices to drop it.
    """
    found = made(SERVICES, tmp_path)
    assert {one.expected for one in found["later"]} == {"accept"}
    shared = {str(one.source): one.expected for one in found["trial"]}
    assert set(map(port, found["trial"])) == {(6, 8000)}
    china = {verdict for source, verdict in shared.items() if source.startswith(("1.", "2400"))}
    assert china <= {"drop"}
    assert {one.expected for some in made(SERVICES, tmp_path, 2_000_000_000).values() for one in some} == {"accept"}


def test_sources_are_what_the_ladder_says_of_them(tmp_path: Path) -> None:
    """Sources are random on each call, in no never-drop prefix, and correct by the database they were compiled from."""
    spared = [ip_network("1.7.0.0/16"), ip_network("2400:7::/32")]
    seen = set()
    for _ in range(20):
        for one in made(SERVICES, tmp_path)["web"]:
            seen.add(one.source)
            assert not any(one.source in prefix for prefix in spared)
            china = any(one.source in ip_network(text) for text in ("1.0.0.0/8", "2400::/16"))
            known = any(one.source in ip_network(text) for text in WORLD)
            assert (one.expected == "drop") == (china or not known)
    assert len(seen) > 4


def test_a_policy_that_denies_nothing(tmp_path: Path) -> None:
    """Then there is no packet to drop, and none is invented."""
    found = made("version: 1\nservices:\n  api: {default: allow, unknown: allow}\n", tmp_path)
    assert {one.expected for one in found["api"]} == {"accept"}
