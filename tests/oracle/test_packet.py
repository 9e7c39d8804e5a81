# SPDX-License-Identifier: Apache-2.0
"""The oracle's packet rules, derived by hand from "Which packets" and rungs 1 and 2 of docs/policy.md."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.oracle.ladder import Oracle
from tests.oracle.packet import (
    DESTINATION,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Packet,
    Reading,
    judge,
    read,
    takers,
    totals,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BODY = "{default: deny, unknown: deny"

SERVICES = f"""
services:
  web: {BODY}, match: {{ports: {{tcp: [443, 8000-8099], udp: [443]}}}}}}
  ping: {BODY}, match: {{protocols: [icmp]}}}}
  edge: {BODY}, match: {{protocols: [47], addresses: [20.0.0.0/28]}}}}
  keep: {BODY}, match: {{ports: {{tcp: [5000]}}}}, established: keep}}
  trial: {BODY}, match: {{ports: {{tcp: [443, 9000]}}}}, mode: monitor}}
  rest: {BODY}, mode: monitor}}
"""


ALL = f"services: {{all: {BODY}}}}}\n"


def oracle(services: str = SERVICES, head: str = "") -> Oracle:
    """Return an oracle without a database: every address is unknown and dropped, unless an earlier rung decides."""
    return Oracle(head + services, [], NOW)


def taking(packet: Packet) -> list[str]:
    """Return the services that take the packet, by name."""
    return [service.name for service in takers(oracle(), packet, read(packet))]


CUT: dict[str, Any] = {"extensions": (FRAGMENT, DESTINATION, DESTINATION), "fragment": (0, True)}


@pytest.mark.parametrize(
    ("packet", "reading"),
    [
        (Packet("2600::1"), Reading(frozenset({TCP}), TCP, 2**16)),
        (Packet("2600::1", cut=3), Reading(frozenset({TCP}), TCP, 3)),
        (Packet("2600::1", protocol=59), Reading(frozenset({59}), 59, 2**16)),
        # The end of a first fragment is behind the fragment header, in an extension header, or behind one.
        (Packet("2600::1", kept=8, **CUT), Reading()),
        (Packet("2600::1", kept=16, **CUT), Reading()),
        (Packet("2600::1", kept=24, **CUT), Reading()),
        (Packet("2600::1", kept=32, **CUT), Reading(frozenset({TCP}), TCP, 0)),
        (Packet("2600::1", kept=48, **CUT), Reading(frozenset({TCP}), TCP, 8)),
        (Packet("2600::1", kept=48, cut=2, **CUT), Reading(frozenset({TCP}), TCP, 2)),
        # Later fragments name their protocol where the stack reads it.
        (Packet("8.8.8.8", fragment=(8, False)), Reading(frozenset({TCP}), TCP)),
        (Packet("8.8.8.8", fragment=(8, False), authentication=4), Reading(frozenset({51}), 51)),
        (Packet("2600::1", extensions=(HOP_BY_HOP,), fragment=(8, True)), Reading(frozenset({TCP}), TCP)),
        (Packet("2600::1", extensions=(FRAGMENT, DESTINATION), fragment=(8, True)), Reading(frozenset({60}), 60)),
        # Authentication headers.
        *[
            (Packet(source, authentication=length), Reading(frozenset({TCP, 51}), TCP, 2**16 - 8 - 4 * length))
            for source in ("8.8.8.8", "2600::1")
            for length in range(1, 15)
        ],
        *[(Packet("8.8.8.8", authentication=length), Reading()) for length in (0, 15, 255)],
        *[(Packet("8.8.8.8", protocol=number, authentication=4), Reading()) for number in (0, 43, 44, 51, 60)],
        (Packet("8.8.8.8", authentication=4, kept=16), Reading()),
        (Packet("8.8.8.8", authentication=4, kept=24), Reading(frozenset({TCP, 51}), TCP, 0)),
        (Packet("2600::1", authentication=4, fragment=(0, True), kept=24), Reading()),
        (Packet("2600::1", authentication=4, fragment=(0, True), kept=40), Reading(frozenset({TCP, 51}), TCP, 8)),
    ],
)
def test_what_can_be_read(packet: Packet, reading: Reading) -> None:
    """The walk ends at the transport, at a later fragment, or at the end of the packet."""
    assert read(packet) == reading


UNREADABLE = Packet("2600::1", kept=24, **CUT)


@pytest.mark.parametrize(
    ("packet", "services"),
    [
        # The protocol cannot be read: all services take it but `edge`, which serves other addresses.
        (UNREADABLE, ["web", "ping", "keep", "trial", "rest"]),
        (Packet("8.8.8.8", "20.0.0.1", authentication=0), ["web", "ping", "edge", "keep", "trial", "rest"]),
        # TCP or UDP without ports: all services that take any of the protocol take it.
        (Packet("8.8.8.8", cut=3), ["web", "keep", "trial", "rest"]),
        (Packet("8.8.8.8", protocol=UDP, cut=0), ["web", "rest"]),
        (Packet("8.8.8.8", authentication=4, cut=2), ["web", "keep", "trial", "rest"]),
        # A readable protocol without ports.
        (Packet("8.8.8.8", protocol=132, cut=0), ["rest"]),
        (Packet("2600::1", protocol=59), ["rest"]),
        # The protocol behind the authentication header decides, or else the authentication header itself.
        (Packet("8.8.8.8", authentication=4), ["web", "trial"]),
        (Packet("8.8.8.8", authentication=4, dport=80), ["rest"]),
        (Packet("8.8.8.8", protocol=ICMP, icmp_type=8, authentication=4), ["ping"]),
    ],
)
def test_which_services_take_what_cannot_be_read(packet: Packet, services: list[str]) -> None:
    """Every service that it might be meant for takes it, and a catch-all beside them."""
    assert taking(packet) == services


def test_a_service_for_authentication_headers_takes_them_whatever_is_behind() -> None:
    """This service and the service of the transport judge it independently."""
    both = oracle(
        f"services: {{web: {BODY}, match: {{ports: {{tcp: [443]}}}}}}, ipsec: {BODY}, match: {{protocols: [51]}}}}}}"
    )
    for packet, services in ((Packet("8.8.8.8", authentication=4), 2), (Packet("8.8.8.8", authentication=4, cut=0), 2)):
        assert len(judge(both, packet).counts) == services
    assert [name for name, *_ in judge(both, Packet("8.8.8.8", authentication=4, dport=80)).counts] == ["ipsec"]


@pytest.mark.parametrize(
    "packet",
    [
        Packet("2600::1", dport=22, kept=24, **CUT),
        Packet("2600::1", protocol=ICMPV6, icmp_type=135, hop_limit=255, kept=24, **CUT),
        Packet("2600::1", protocol=UDP, sport=547, dport=546, kept=24, **CUT),
        Packet("2600::1", flags="A", kept=24, **CUT),
        Packet("8.8.8.8", dport=22, cut=2),
        Packet("8.8.8.8", protocol=UDP, sport=67, dport=68, cut=2),
        Packet("8.8.8.8", flags="A", cut=2),
    ],
)
def test_nothing_but_a_never_drop_prefix_lets_through_what_cannot_be_read(packet: Packet) -> None:
    """It shows no never-drop port, no control traffic and no open connection."""
    keep = ALL.replace("}}", ", established: keep}}")
    assert judge(oracle(keep), packet).verdict == "drop"
    assert judge(oracle(keep), Packet("10.0.0.1", cut=2)).verdict == "accept"
    prefixes = 'never_drop: {prefixes: [8.8.8.0/24, "2600::/16"]}\n'
    assert judge(oracle(keep, prefixes), packet).counts == (("all", None, "never_drop"),)


@pytest.mark.parametrize(
    ("packet", "counter"),
    [
        (Packet("8.8.8.8", authentication=4, dport=22), "never_drop"),
        (Packet("8.8.8.8", authentication=4, protocol=ICMP, icmp_type=3), "accepted"),
        (Packet("2600::1", authentication=4, protocol=ICMPV6, icmp_type=135, hop_limit=255), "accepted"),
        (Packet("8.8.8.8", authentication=4, protocol=UDP, sport=67, dport=68), "accepted"),
        (Packet("8.8.8.8", authentication=4, flags="A"), "accepted"),
        (Packet("8.8.8.8", authentication=4), "dropped"),
    ],
)
def test_the_rungs_before_the_ladder_read_behind_an_authentication_header(packet: Packet, counter: str) -> None:
    """The rungs decide as if the authentication header were not there."""
    keep = ALL.replace("}}", ", established: keep}}")
    assert [count for _, _, count in judge(oracle(keep), packet).counts] == [counter]


@pytest.mark.parametrize(
    ("packet", "services"),
    [
        (Packet("8.8.8.8", dport=443), ["web", "trial"]),
        (Packet("2600::1", protocol=17, dport=443), ["web"]),
        (Packet("8.8.8.8", dport=8099), ["web"]),
        (Packet("8.8.8.8", dport=8100), ["rest"]),
        (Packet("8.8.8.8", dport=9000), ["trial", "rest"]),
        (Packet("8.8.8.8", protocol=1, icmp_type=8), ["ping"]),
        (Packet("2600::1", protocol=58, icmp_type=128), ["ping"]),
        (Packet("8.8.8.8", "20.0.0.1", protocol=47), ["edge"]),
        (Packet("8.8.8.8", "20.0.0.16", protocol=47), ["rest"]),
        # Later fragments show no ports, but they do show their protocol.
        (Packet("8.8.8.8", dport=443, fragment=(0, True)), ["web", "trial"]),
        (Packet("8.8.8.8", dport=443, fragment=(8, False)), ["rest"]),
        (Packet("8.8.8.8", protocol=1, fragment=(8, False)), ["ping"]),
    ],
)
def test_which_services_take_a_packet(packet: Packet, services: list[str]) -> None:
    """Services take a packet by port, protocol and local address; a catch-all takes what no enforced match takes."""
    assert taking(packet) == services


@pytest.mark.parametrize(
    ("packet", "counter"),
    [
        (Packet("8.8.8.8", dport=443), "dropped"),
        (Packet("10.0.0.1", dport=443), "accepted"),
        # Rung 1: tcp/22 if `never_drop` is left out, first fragments and whole packets only.
        (Packet("8.8.8.8", dport=22), "never_drop"),
        (Packet("8.8.8.8", protocol=17, dport=22), "dropped"),
        (Packet("8.8.8.8", dport=22, fragment=(0, True)), "never_drop"),
        (Packet("8.8.8.8", dport=22, fragment=(16, False)), "dropped"),
        # Rung 2.
        (Packet("2600::1", protocol=58, icmp_type=135, hop_limit=255), "accepted"),
        (Packet("2600::1", protocol=58, icmp_type=135, hop_limit=254), "dropped"),
        (Packet("2600::1", protocol=58, icmp_type=2), "accepted"),
        (Packet("2600::1", protocol=58, icmp_type=128), "dropped"),
        (Packet("8.8.8.8", protocol=1, icmp_type=3), "accepted"),
        (Packet("8.8.8.8", protocol=1, icmp_type=8), "dropped"),
        (Packet("8.8.8.8", protocol=58, icmp_type=135, hop_limit=255), "dropped"),
        (Packet("8.8.8.8", protocol=17, sport=67, dport=68), "accepted"),
        (Packet("8.8.8.8", protocol=17, sport=68, dport=68), "dropped"),
        (Packet("8.8.8.8", protocol=17, sport=53, dport=67), "dropped"),
        (Packet("2600::1", protocol=17, sport=547, dport=546), "accepted"),
        (Packet("8.8.8.8", protocol=6, sport=67, dport=68), "dropped"),
    ],
)
def test_the_first_two_rungs(packet: Packet, counter: str) -> None:
    """A catch-all that denies everything shows what is accepted before the ladder of addresses."""
    judgement = judge(oracle(ALL), packet)
    label = None if counter in {"accepted", "never_drop"} else "unknown"
    assert judgement.counts == (("all", label, counter),)
    assert judgement.verdict == ("drop" if counter == "dropped" else "accept")


def test_never_drop_as_written_replaces_the_default() -> None:
    """`{}` means none, and a prefix goes before every service."""
    assert judge(oracle(ALL, "never_drop: {}\n"), Packet("8.8.8.8", dport=22)).verdict == "drop"
    head = "never_drop: {prefixes: [8.8.8.0/24], ports: {udp: [53]}}\n"
    assert judge(oracle(ALL, head), Packet("8.8.8.8")).counts == (("all", None, "never_drop"),)
    assert judge(oracle(ALL, head), Packet("9.9.9.9", dport=22)).verdict == "drop"
    assert judge(oracle(ALL, head), Packet("9.9.9.9", protocol=17, dport=53)).verdict == "accept"


@pytest.mark.parametrize(
    ("flags", "cut", "verdict"),
    [
        ("S", None, "drop"),
        ("SA", None, "accept"),
        ("A", None, "accept"),
        ("R", None, "accept"),
        ("SF", None, "drop"),
        ("", None, "accept"),
        ("A", 8, "drop"),
        ("A", 16, "accept"),
    ],
)
def test_established_keep(flags: str, cut: int | None, verdict: str) -> None:
    """Only openings are judged, and packets whose flags are not present."""
    packet = Packet("8.8.8.8", dport=5000, flags=flags, cut=cut, fragment=None if cut is None else (0, True))
    assert judge(oracle(), packet).verdict == verdict


def test_monitor_services_count_beside_the_enforced_one() -> None:
    """Two services take the packet; the enforced one drops it, the one in monitor counts what it would drop."""
    judgement = judge(oracle(), Packet("8.8.8.8"))
    assert judgement.verdict == "drop"
    assert judgement.counts == (("web", "unknown", "dropped"), ("trial", "unknown", "would_drop"))


def test_totals_add_up() -> None:
    """Packets and bytes add up by service, family, label and counter."""
    packets = [(Packet("8.8.8.8"), 40), (Packet("8.8.8.8"), 60), (Packet("2600::1"), 80)]
    judged = [(packet, judge(oracle(ALL), packet), length) for packet, length in packets]
    assert totals(judged) == {
        ("all", "ipv4", "unknown", "dropped"): (2, 100),
        ("all", "ipv6", "unknown", "dropped"): (1, 80),
    }
