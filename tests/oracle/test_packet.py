"""The oracle's packet rules, derived by hand from "Which packets" and rungs 1 and 2 of docs/policy.md."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.oracle.ladder import Oracle
from tests.oracle.packet import Packet, judge, takers, totals

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


def oracle(services: str = SERVICES, head: str = "") -> Oracle:
    """No database, so every address is unknown and dropped, unless something before the ladder says otherwise."""
    return Oracle(head + services, [], NOW)


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
    """By port, protocol and local address; a catch-all takes what no enforced service with a match takes."""
    assert [
        service.name for service in takers(oracle(), Packet(**{**vars(packet), "dest": packet.dest or "8.8.4.4"}))
    ] == services


ALL = f"services: {{all: {BODY}}}}}\n"


@pytest.mark.parametrize(
    ("packet", "counter"),
    [
        (Packet("8.8.8.8", dport=443), "dropped"),
        (Packet("10.0.0.1", dport=443), "accepted"),
        # Rung 1: tcp/22 where `never_drop` is left out, first fragments and whole packets only.
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
    """Only openings are judged, and what does not show its flags."""
    packet = Packet("8.8.8.8", dport=5000, flags=flags, cut=cut, fragment=None if cut is None else (0, True))
    assert judge(oracle(), packet).verdict == verdict


def test_monitor_services_count_beside_the_enforced_one() -> None:
    """Two services take the packet; the enforced one drops it, the trial counts what it would drop."""
    judgement = judge(oracle(), Packet("8.8.8.8"))
    assert judgement.verdict == "drop"
    assert judgement.counts == (("web", "unknown", "dropped"), ("trial", "unknown", "would_drop"))


def test_totals_add_up() -> None:
    """Packets and bytes by service, family, label and counter."""
    packets = [(Packet("8.8.8.8"), 40), (Packet("8.8.8.8"), 60), (Packet("2600::1"), 80)]
    judged = [(packet, judge(oracle(ALL), packet), length) for packet, length in packets]
    assert totals(judged) == {
        ("all", "ipv4", "unknown", "dropped"): (2, 100),
        ("all", "ipv6", "unknown", "dropped"): (1, 80),
    }
