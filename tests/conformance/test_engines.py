# SPDX-License-Identifier: Apache-2.0
"""Every case on every engine, with real packets: each verdict, and the counters afterwards."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from geodrop.engine.exempt import ExemptSource
from tests.conformance.case import CN, DENY_CN, US, VERSION, Case, Expectation, both, service
from tests.conformance.cases import CASES
from tests.conformance.conftest import REJECTING
from tests.conformance.loading import expected, load, next_generation
from tests.conformance.random_packets import POLICIES, RAMPED, random_packet, somewhere
from tests.conformance.service_cases import REJECT
from tests.conformance.wire import JUDGED
from tests.oracle.ladder import Oracle
from tests.oracle.packet import Packet, totals
from tests.oracle.ramp import BUCKETS, bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.conformance.wire import Wire
    from tests.oracle.ladder import Database
    from tests.oracle.packet import Judgement
    from tests.support.engines import ApplyingEngine

    Totals = dict[tuple[str, str, str | None, str], tuple[int, int]]

T = TypeVar("T")

pytestmark = pytest.mark.root

COUNTERS = ("dropped", "would_drop", "accepted", "never_drop", "exempted")

RANDOM_PACKETS = 3000
"""The number of packets for each policy."""


def counted(engine: ApplyingEngine, wire: Wire) -> Totals:
    """Return all counters that are not zero, in the oracle's form."""
    with wire.host.entered():
        counts = engine.counters()
    return {
        (count.service, count.family, count.label, name): getattr(count, name)
        for count in counts
        for name in COUNTERS
        if getattr(count, name) != (0, 0)
    }


def difference(before: Totals, after: Totals) -> Totals:
    """Return what was counted in between."""
    grown = {}
    for key, (packets, size) in after.items():
        old_packets, old_size = before.get(key, (0, 0))
        if (packets, size) != (old_packets, old_size):
            grown[key] = (packets - old_packets, size - old_size)
    return grown


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_conformance(case: Case, engine: ApplyingEngine, wire: Wire, world: Database, world_file: Path) -> None:
    """Accepted packets arrive and are forwarded if addressed elsewhere, dropped ones never; all are counted."""
    if case in REJECT and engine.name not in REJECTING:
        pytest.skip(f"{engine.name} does not reject; a load of such a ruleset is refused (test_load)")
    load(engine, wire, case.policy, world_file)
    before = counted(engine, wire)
    arrived, forwarded, lengths = wire.send(case.expectations)
    found = ["accept" if here else "drop" for here in arrived]
    wrong = [item for item, verdict in zip(case.expectations, found, strict=True) if verdict != item.verdict]
    assert wrong == []
    for item, onward in zip(case.expectations, forwarded, strict=True):
        elsewhere = item.packet.dest.startswith(("30.0.0.", "2600:30:"))
        assert onward == (elsewhere and item.verdict == "accept"), item
    oracle = Oracle(case.policy, [world], datetime.now(UTC))
    judged = [
        (item.packet, expected(engine, oracle, item.packet), length)
        for item, length in zip(case.expectations, lengths, strict=True)
        if item.via == JUDGED
    ]
    assert difference(before, counted(engine, wire)) == totals(judged)


def let_through_together(counts: Totals) -> Totals:
    """Add up `accepted` and `never_drop`: a packet that rungs 1 and 2 both let through may be counted as either."""
    together: Totals = {}
    for (name, family, label, counter), (packets, size) in counts.items():
        key = name, family, label, "let through" if counter in {"accepted", "never_drop"} else counter
        before = together.get(key, (0, 0))
        together[key] = before[0] + packets, before[1] + size
    return together


@pytest.mark.parametrize("name", POLICIES)
def test_random_packets(name: str, engine: ApplyingEngine, wire: Wire, world: Database, world_file: Path) -> None:
    """Thousands of packets of every shape are judged and counted as the oracle does."""
    load(engine, wire, POLICIES[name], world_file)
    oracle = Oracle(POLICIES[name], [world], datetime.now(UTC))
    chance = random.Random(name)
    packets = [random_packet(chance) for _ in range(RANDOM_PACKETS)]
    judgements = [expected(engine, oracle, packet) for packet in packets]
    assert_judged(engine, wire, packets, judgements)


EXEMPT = ("1.1.0.0/16", "6.6.6.6", "2400::/32", "2002:101:101::/48", "4000::/32")
"""Denied sources in both families; of embedded addresses only the IPv6 one counts."""


@pytest.mark.parametrize("name", ["web, mail and the rest", "trials over everything"])
def test_exempt_sources(name: str, engine: ApplyingEngine, wire: Wire, world: Database, world_file: Path) -> None:
    """Packets that a service would drop pass and count as exempted, for every service and by the address on the wire.

    Nothing else changes, also not in a table that was saved and loaded again.
    """
    oracle = Oracle(POLICIES[name], [world], datetime.now(UTC))
    oracle.exempt = [ip_network(text) for text in EXEMPT]
    chance = random.Random(name)
    packets = [random_packet(chance) for _ in range(RANDOM_PACKETS // 4)]
    judgements = [expected(engine, oracle, packet) for packet in packets]
    assert {counter for one in judgements for _, _, counter in one.counts} >= {"dropped", "exempted"}
    expectations = [Expectation(packet, one.verdict) for packet, one in zip(packets, judgements, strict=True)]
    with wire.host.entered():
        engine.remove()
    engine.exempt = [ExemptSource(one, time.monotonic_ns() + 3600 * 10**9) for one in oracle.exempt]
    try:
        load(engine, wire, POLICIES[name], world_file)
        before = counted(engine, wire)
        arrived, _, lengths = wire.send(expectations)
        after = counted(engine, wire)
    finally:
        engine.exempt = ()
        with wire.host.entered():
            engine.remove()
    wrong = [item for item, here in zip(expectations, arrived, strict=True) if here != (item.verdict == "accept")]
    assert wrong == []
    counts = totals(zip(packets, judgements, lengths, strict=True))
    assert let_through_together(difference(before, after)) == let_through_together(counts)


def test_ramps(engine: ApplyingEngine, wire: Wire, world: Database, world_file: Path) -> None:
    """Of the sources that a service would drop, every engine drops those that the oracle drops, and counts the rest."""
    load(engine, wire, RAMPED, world_file)
    oracle = Oracle(RAMPED, [world], datetime.now(UTC))
    chance = random.Random("ramps")
    packets = [random_packet(chance) for _ in range(RANDOM_PACKETS // 3)]
    packets = [somewhere(chance, packet) for packet in packets]
    judgements = [expected(engine, oracle, packet) for packet in packets]
    assert {counter for one in judgements for _, _, counter in one.counts} >= {"dropped", "would_drop", "accepted"}
    assert_judged(engine, wire, packets, judgements)


def assert_judged(
    engine: ApplyingEngine, wire: Wire, packets: Sequence[Packet], judgements: Sequence[Judgement]
) -> None:
    """Send packets, and compare what arrives and what is counted with the oracle's judgements."""
    expectations = [Expectation(packet, one.verdict) for packet, one in zip(packets, judgements, strict=True)]
    before = counted(engine, wire)
    arrived, _, lengths = wire.send(expectations)
    wrong = [item for item, here in zip(expectations, arrived, strict=True) if here != (item.verdict == "accept")]
    assert wrong == []
    counts = totals(zip(packets, judgements, lengths, strict=True))
    assert let_through_together(difference(before, counted(engine, wire))) == let_through_together(counts)


def seen_before(act: Callable[[int], T]) -> tuple[int, T]:
    """Return a moment, and what an act with it returned before it came; a slow machine gets a later moment."""
    for lead in (2, 10, 60):
        moment = int(time.time()) + lead
        seen = act(moment)
        if time.time() < moment:
            return moment, seen
    raise AssertionError("too slow to see the time before")


def stamp(moment: int) -> str:
    """Return a moment as a policy names it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_step_of_a_ramp_arrives_with_nobody_running(engine: ApplyingEngine, wire: Wire, world_file: Path) -> None:
    """Before the first step nothing is dropped; from then on, by the kernel's clock, the share."""
    sources = [f"1.1.{number}.1" for number in range(40)] + [f"2400:1:2:{number:x}00::1" for number in range(40)]
    packets = [Expectation(Packet(source), "drop") for source in sources]

    def act(moment: int) -> list[bool]:
        ramp = f"ramp: {{{stamp(moment)}: 50%, 2099-01-01T00:00:00Z: 100%}}"
        load(engine, wire, VERSION + "services:\n" + service(f"{DENY_CN}; {ramp}"), world_file)
        return wire.send(packets)[0]

    first, arrived = seen_before(act)
    assert all(arrived)
    time.sleep(first - time.time() + 0.1)
    arrived, _, _ = wire.send(packets)
    assert arrived == [bucket("api", source) >= BUCKETS // 2 for source in sources]


def test_a_date_arrives_with_nobody_running(engine: ApplyingEngine, wire: Wire, world_file: Path) -> None:
    """`starts` takes effect by the kernel's clock: the same loaded policy only counts at first, and drops later."""
    packets = [*both(CN, "drop"), *both(US, "accept")]

    def act(moment: int) -> list[bool]:
        load(engine, wire, VERSION + "services:\n" + service(f"{DENY_CN}; starts: {stamp(moment)}"), world_file)
        return wire.send(packets)[0]

    starts, arrived = seen_before(act)
    assert arrived == [True] * 4
    time.sleep(starts - time.time() + 0.1)
    arrived, _, _ = wire.send(packets)
    assert arrived == [False, False, True, True]


def test_a_pause_ends_with_nobody_running(engine: ApplyingEngine, wire: Wire, world_file: Path) -> None:
    """During a pause all packets arrive and are counted; when it ends by the kernel's clock or a resume, they drop."""
    ruleset = load(engine, wire, VERSION + "services:\n" + service(DENY_CN), world_file)
    packets = [*both(CN, "drop"), *both(US, "accept")]

    def act(moment: int) -> tuple[Any, list[bool]]:
        with wire.host.entered():
            engine.apply(ruleset.paused(moment), next_generation(), [JUDGED])
        return counted(engine, wire), wire.send(packets)[0]

    until, (before, arrived) = seen_before(act)
    assert arrived == [True] * 4
    counts = difference(before, counted(engine, wire))
    assert {name for _, _, _, name in counts} == {"would_drop", "accepted"}
    time.sleep(until - time.time() + 0.1)
    arrived, _, _ = wire.send(packets)
    assert arrived == [False, False, True, True]
    with wire.host.entered():
        engine.apply(ruleset.paused(until + 3600), next_generation(), [JUDGED])
        engine.apply(ruleset, next_generation(), [JUDGED])
    arrived, _, _ = wire.send(packets)
    assert arrived == [False, False, True, True]


def test_other_tables_stay_as_they_were(engine: ApplyingEngine, wire: Wire, world_file: Path) -> None:
    """The observer's table, handles included, is the same after a load and a removal."""

    def others() -> str:
        return wire.host.run("nft", "--handle", "--stateless", "list", "table", "inet", "observer")

    before = others()
    load(engine, wire, CASES[0].policy, world_file)
    assert others() == before
    with wire.host.entered():
        assert engine.remove()
        assert not engine.remove()
    assert others() == before
    assert wire.host.run("nft", "list", "tables").split() == ["table", "inet", "observer"]
