# SPDX-License-Identifier: Apache-2.0
"""Both sides of a deadline: the same packets get the verdicts of the new policy before, and those of the old one after.

Nothing runs when the deadline comes. Both policies drop shares of the denied sources, and some sources are exempt.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.engine.api import TICKS, Scope, Undo
from geodrop.engine.exempt import ExemptSource
from geodrop.linux.clock import monotonic
from geodrop.nftables import names
from tests.conformance.case import Expectation
from tests.conformance.conftest import ENGINES
from tests.conformance.loading import compiled, expected, load, next_generation
from tests.conformance.random_packets import POLICIES, RAMPED, random_packet, somewhere
from tests.conformance.saved import SavedEngine
from tests.conformance.wire import JUDGED
from tests.oracle.ladder import Oracle
from tests.support.namespaces import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from tests.conformance.wire import Wire
    from tests.oracle.ladder import Database
    from tests.oracle.packet import Packet
    from tests.support.engines import ApplyingEngine

pytestmark = pytest.mark.root

WITHOUT_WINDOWS = {"exported", "exported-joined", "nftables-overlay"}
"""An export is loaded by stock nft; in a window there are no overlays (decision 37)."""

OLD, NEW = RAMPED, POLICIES["web, mail and the rest"]
EXEMPT = ("1.1.0.0/16", "6.6.6.6", "2400::/32")
PACKETS = 600
SECOND = 10**9


def put_on_trial(engine: Any, ruleset: Ruleset, undo: Undo) -> None:  # noqa: ANN401 - both engines, which differ here
    """Load a generation that the kernel undoes by itself."""
    with engine.staged(ruleset, next_generation(), undo=undo) as staged:
        staged.switch([JUDGED] if engine.name == "xdp" else Scope((JUDGED,)), undo.deadline)
    if isinstance(engine, SavedEngine):
        saved = run("nft", "list", "table", "inet", names.TABLE)
        engine.remove()
        run("nft", "-f", "-", stdin=saved)


def wrong(oracle: Oracle, engine: ApplyingEngine, packets: Sequence[Packet], arrived: Sequence[bool]) -> list[Packet]:
    """Return the packets whose verdict was not the policy's."""
    verdicts = [expected(engine, oracle, packet).verdict for packet in packets]
    assert {"accept", "drop"} <= set(verdicts)
    return [
        packet
        for packet, verdict, here in zip(packets, verdicts, arrived, strict=True)
        if here != (verdict == "accept")
    ]


@pytest.mark.parametrize("engine", sorted(set(ENGINES) - WITHOUT_WINDOWS), indirect=True)
def test_both_sides_of_a_deadline(engine: ApplyingEngine, wire: Wire, world: Database, world_file: Path) -> None:
    """No packet leaks and none is dropped wrongly, neither in the window nor after it; a saved window loads again."""
    chance = random.Random("windows")
    packets = [somewhere(chance, random_packet(chance)) for _ in range(PACKETS)]
    sent = [Expectation(packet, "") for packet in packets]
    oracles = [Oracle(policy, [world], datetime.now(UTC)) for policy in (OLD, NEW)]
    for one in oracles:
        one.exempt = [ip_network(text) for text in EXEMPT]
    with wire.host.entered():
        engine.remove()
    engine.exempt = [ExemptSource(network, time.monotonic_ns() + 3600 * SECOND) for network in oracles[0].exempt]
    try:
        new = compiled(engine, NEW, world_file)
        for seconds in (1, 5, 60):
            old = load(engine, wire, OLD, world_file)
            with wire.host.entered():
                before = engine.observe().generation
                put_on_trial(engine, new, Undo(before, old, monotonic() + seconds * SECOND))
                # A saved window goes on with the time that was left when it was saved.
                window = engine.observe().window
                assert window is not None
                assert (window.digest, window.previous_digest, window.over) == (new.digest, old.digest, False)
                deadline = window.deadline
            in_the_window = wire.send(sent)[0]
            if monotonic() < deadline - TICKS:
                break
        else:
            raise AssertionError("too slow to see the time before the deadline")
        time.sleep((deadline + 2 * TICKS - monotonic()) / SECOND)
        with wire.host.entered():
            observed = engine.observe()
            assert (observed.generation, observed.digest) == (before, old.digest)
        afterwards = wire.send(sent)[0]
    finally:
        engine.exempt = ()
        with wire.host.entered():
            engine.remove()
    assert wrong(oracles[1], engine, packets, in_the_window) == []
    assert wrong(oracles[0], engine, packets, afterwards) == []
    assert in_the_window != afterwards
