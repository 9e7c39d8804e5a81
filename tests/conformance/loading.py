# SPDX-License-Identifier: Apache-2.0
"""Compile a policy in the form that an engine is tested with, load it, and say what the oracle expects of a packet."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.geo.database import Database as GeoDatabase
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.conformance.conftest import ENDED_BY_A_DROP
from tests.conformance.joined import as_compiled_for, as_counted_by
from tests.conformance.wire import JUDGED
from tests.oracle.packet import AUTHENTICATION, Judgement, Packet, judge, read
from tests.support.worlds import compile_ruleset

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.wire import Wire
    from tests.oracle.ladder import Oracle
    from tests.support.engines import ApplyingEngine

_generations = itertools.count(1)


def next_generation() -> int:
    """Return a number that no generation on the bench has had."""
    return next(_generations)


def compiled(engine: ApplyingEngine, policy: str, world_file: Path) -> Ruleset:
    """Compile a policy in the form that the engine is tested with."""
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    with as_compiled_for(engine):
        data = compile_ruleset(parsed, [GeoDatabase.open(world_file.read_bytes(), world_file.name)])
    return Ruleset.unpack(data, "test")


def load(engine: ApplyingEngine, wire: Wire, policy: str, world_file: Path) -> Ruleset:
    """Compile a policy and put it in force on the judged interface."""
    ruleset = compiled(engine, policy, world_file)
    with wire.host.entered():
        engine.apply(ruleset, next_generation(), [JUDGED])
    return ruleset


def expected(engine: ApplyingEngine, oracle: Oracle, packet: Packet) -> Judgement:
    """Return the verdict and the counts of a packet; if a drop ends its way, later services count nothing.

    Services in monitor come first, and an authentication header is judged before what it protects.
    """
    judgement = judge(oracle, packet)
    if engine.name not in ENDED_BY_A_DROP:
        return judgement
    services = {service.name: service for service in oracle.policy.services}
    authenticated = AUTHENTICATION in (read(packet).protocols or ())

    def turn(count: tuple[str, str | None, str]) -> tuple[bool, bool, bool]:
        one = services[count[0]]
        asks = one.has_ports or bool(one.protocols)
        return one.enforce, authenticated and asks and AUTHENTICATION not in one.protocols, one.catch_all

    counts = sorted(judgement.counts, key=turn)
    last = next((at for at, count in enumerate(counts, start=1) if count[2] == "dropped"), len(counts))
    return as_counted_by(engine, packet, replace(judgement, counts=tuple(counts[:last])))


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)
