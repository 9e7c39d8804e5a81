# SPDX-License-Identifier: Apache-2.0
"""Exempt sources in the program's map: packets, expiry with nobody running, other programs, other program sets."""

from __future__ import annotations

import time
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.exempt import ExemptSource
from geodrop.linux import libbpf, lpm_trie
from geodrop.xdp import layout as lay
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.engines import XdpEngine
from tests.support.namespaces import PacketSender

if TYPE_CHECKING:
    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import End

pytestmark = pytest.mark.root

DEADLINE = 30
DENIED, ALSO, DENIED6 = "1.0.0.7", "1.0.0.8", "2400::7"


def passing(*pairs: tuple[str, float]) -> list[ExemptSource]:
    """Return sources, each with the seconds from now for which it passes."""
    now = time.monotonic_ns()
    return [ExemptSource(ip_network(text), now + int(seconds * 1e9)) for text, seconds in pairs]


def packets(*addresses: str) -> list[bytes]:
    """Return a packet to the service from each address."""
    return [
        encode(Packet(source=one, dest="2001:db8::1" if ":" in one else "192.0.2.1", dport=443), number)
        for number, one in enumerate(addresses)
    ]


def counted(engine: XdpEngine) -> tuple[int, int]:
    """Return how many packets were dropped, and how many passed because their source is exempt."""
    totals = engine.counters()
    return sum(one.dropped[0] for one in totals), sum(one.exempted[0] for one in totals)


def test_packets_and_counts(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """An exempt source passes in either family, also through a network around it; a reload changes nothing in that."""
    with ends[1].namespace.entered(), PacketSender(*ends) as wire:
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        wire.send(packets(DENIED, DENIED6))
        assert counted(engine) == (2, 0)
        known = passing(("1.0.0.0/16", 300), (DENIED, 600), (DENIED6, 600))
        engine.put_exempt(known)
        assert engine.verify_exempt(known) == []
        wire.send(packets(DENIED, ALSO, DENIED6))
        assert counted(engine) == (2, 3)
        assert sorted(packets for packets, _ in engine.exempt_totals(known).values()) == [1, 1, 1]
        assert [answer.exempted for [answer] in engine.judge(rulesets[0], [DENIED, ALSO, DENIED6, "9.9.9.9"])] == [
            True,
            True,
            True,
            False,
        ]
        engine.apply(rulesets[0], 2, ["eth0"])
        assert engine.verify(rulesets[0]) == []
        assert engine.verify_exempt(known) == []
        left = [one for one in known if str(one.network) != "1.0.0.0/16"]
        engine.put_exempt(left)
        wire.send(packets(DENIED, ALSO))
        assert counted(engine) == (3, 4)
        engine.remove()


def test_it_ends_by_itself(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """The program compares the deadline with its own clock: no process takes part."""
    with ends[1].namespace.entered(), PacketSender(*ends) as wire:
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        known = passing((DENIED, 1))
        engine.put_exempt(known)
        deadline = time.monotonic() + DEADLINE
        while counted(engine)[0] == 0:
            assert time.monotonic() < deadline
            wire.send(packets(DENIED))
            time.sleep(0.02)
        assert counted(engine)[1] > 0
        assert time.monotonic_ns() >= known[0].deadline
        assert engine.verify_exempt(known) == []
        assert engine.judge(rulesets[0], [DENIED])[0][0].verdict == "drop"
        engine.remove()


def test_what_another_program_does_is_a_difference(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """An entry that is gone, and one that nobody asked for; both are put right."""
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        known = passing((DENIED, 600))
        engine.put_exempt(known)
        before = engine.fingerprint()
        [folder] = pins.sets()
        with libbpf.opened(folder / "exempt") as fd:
            [(length, data)] = lpm_trie.items(fd)
            value = lpm_trie.items(fd)[length, data]
            lpm_trie.remove(fd, length, data)
            lpm_trie.put(fd, length, data[:4] + b"\x09" + data[5:], value)
        assert engine.fingerprint() != before
        assert [one.where for one in engine.verify_exempt(known)] == [
            "xdp, exempt 1.0.0.7/32",
            "xdp, exempt 9.0.0.7/32",
        ]
        engine.put_exempt(known)
        assert engine.verify_exempt(known) == []
        engine.remove()


FOREIGN = {
    "everybody": (0, bytes(20)),
    "half of a family": (32 + 1, b"\4" + bytes(19)),
    "bits behind the prefix": (32 + 8, b"\4\0\0\0" + bytes([1, 0, 0, 7]) + bytes(12)),
    "more than an address": (32 + 128, b"\4\0\0\0" + bytes([1, 0, 0, 7]) + bytes(12)),
    "ours, without an end": (32 + 32, b"\4\0\0\0" + bytes([1, 0, 0, 8]) + bytes(12)),
    "ours, under a family that there is not": (32 + 32, b"\t\0\0\0" + bytes([1, 0, 0, 8]) + bytes(12)),
}
"""Keys that another program may write, some of which geodrop never writes: length in bits, data."""


@pytest.mark.parametrize("name", FOREIGN)
def test_a_key_of_any_kind_is_a_difference(
    ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins, name: str
) -> None:
    """What the program may find is told of, whatever it is; it ends with the next change, and nobody passes by it."""
    key = FOREIGN[name]
    with ends[1].namespace.entered(), PacketSender(*ends) as wire:
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        known = passing((ALSO, 600))
        engine.put_exempt(known)
        before = engine.fingerprint()
        [folder] = pins.sets()
        with libbpf.opened(folder / "exempt") as fd:
            lpm_trie.put(fd, *key, bytes(lay.ExemptLayout((1 << 64) - 1, 0, 0)))
            if key[1][:1] == b"\t":
                [ours] = [one for one in lpm_trie.items(fd) if one[1] != key[1]]
                lpm_trie.remove(fd, *ours)
        assert engine.fingerprint() != before
        assert engine.verify_exempt(known) != []
        engine.put_exempt(known)
        assert engine.verify_exempt(known) == []
        wire.send(packets(DENIED, ALSO))
        assert counted(engine) == (1, 1)
        engine.remove()


def test_another_program_set_takes_them_over(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """Another program, loaded in place of the first, lets them pass from its first packet on, and goes on counting."""
    with ends[1].namespace.entered(), PacketSender(*ends) as wire:
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        known = passing((DENIED, 600))
        engine.put_exempt(known)
        wire.send(packets(DENIED))
        [before] = pins.sets()

        class Other(type(engine.loader)):  # type: ignore[misc]  # the same loader with another version
            def version(self) -> str:
                return "f" * 12

        later = XdpEngine(Other(), pins, exempt=known)
        later.apply(rulesets[0], 2, ["eth0"])
        assert pins.sets() != [before]
        assert later.verify_exempt(known) == []
        wire.send(packets(DENIED))
        assert counted(later) == (0, 2)
        assert later.exempt_totals(known) == {known[0].network: (2, 80)}
        later.remove()
