# SPDX-License-Identifier: Apache-2.0
"""Try shapes against engines: what sockets still read from the denied side, and no longer from the allowed one."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import maxminddb

from geodrop.geo.database import Database as GeoDatabase
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.conformance.case import WORLD
from tests.conformance.conftest import ENGINES
from tests.conformance.fuzz.bench import INTERFACE, bench
from tests.conformance.fuzz.findings import LEAK, OVERREACH, WRITTEN, WRONG_DROP, Finding
from tests.conformance.fuzz.policies import POLICIES
from tests.conformance.fuzz.shapes import is_behind_too_many_tags, is_hollow
from tests.conformance.fuzz.sides import ALLOWED, DENIED, Origin
from tests.conformance.fuzz.verdicts import is_denied, passes
from tests.oracle.ladder import Oracle
from tests.support.bpffs import own_pins
from tests.support.databases import write_database
from tests.support.worlds import compile_ruleset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.conformance.fuzz.bench import Heard, Server
    from tests.conformance.fuzz.ears import Delivery
    from tests.conformance.fuzz.findings import Shape
    from tests.oracle.ladder import Database
    from tests.support.engines import ApplyingEngine

    Sent = Sequence[tuple[Origin, Sequence[bytes]]]

_PLAIN = "plain"

CHUNK = 200
"""Shapes that are sent to one server before the next server gets them."""

TRIES = 3
"""A delivery counts as dropped only if it is missing this often; otherwise a busy machine may have lost it."""


@dataclass
class Result:
    """The result of a campaign."""

    shapes: int = 0
    delivered: int = 0
    """Shapes of which a socket read something from the allowed side, without geodrop."""

    deniable: int = 0
    """Shapes of which a socket of a service read something from the denied side, without geodrop."""

    lost: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


@contextlib.contextmanager
def campaign(engines: Sequence[str], folder: Path, *, tracked: bool = False) -> Iterator[Campaign]:
    """Yield a bench with a server for each engine, by its name in the suite, and one without; files go to `folder`."""
    world_file = write_database(folder / "world.mmdb", WORLD)
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(bench([_PLAIN, *engines], tracked=tracked))
        judged = {}
        for name in engines:
            engine = ENGINES[name](stack.enter_context(own_pins()))
            judged[name] = servers[name], engine
            stack.callback(_remove, servers[name], engine)
        world = stack.enter_context(maxminddb.open_database(world_file, maxminddb.MODE_MEMORY))
        yield Campaign(servers[_PLAIN], judged, world_file, world)


class Campaign:
    """Policies and shapes, one after the other, against the servers of a bench."""

    def __init__(
        self, plain: Server, judged: Mapping[str, tuple[Server, ApplyingEngine]], world_file: Path, world: Database
    ) -> None:
        self._plain, self._judged = plain, judged
        self._world_file, self._world = world_file, world
        self._numbers = itertools.count(1)
        self._generations = itertools.count(1)

    def run(self, policy: str, shapes: Iterable[Shape], in_force: str = "") -> Result:
        """Put a policy in force on every engine, or `in_force` instead of it, and try the shapes."""
        self._load(in_force or POLICIES[policy])
        oracle = Oracle(POLICIES[policy], [self._world], datetime.now(UTC))
        result = Result()
        for chunk in _chunks(shapes):
            numbered = [(one, self._number() if one.fixed is None else one.fixed) for one in chunk]
            for finding in self._try(policy, oracle, numbered, result):
                if self._is_confirmed(oracle, finding, result):
                    result.findings.append(finding)
        return result

    def _load(self, policy: str) -> None:
        parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
        database = GeoDatabase.open(self._world_file.read_bytes(), self._world_file.name)
        ruleset = Ruleset.unpack(compile_ruleset(parsed, [database]), "fuzz")
        for server, engine in self._judged.values():
            with server.namespace.entered():
                engine.apply(ruleset, next(self._generations), [INTERFACE])

    def _number(self) -> int:
        number = next(self._numbers)
        assert number < WRITTEN, "no numbers are left: begin again with another bench"
        return number

    def _try(self, policy: str, oracle: Oracle, numbered: list[tuple[Shape, int]], result: Result) -> Iterator[Finding]:
        sent = [
            (origin, one.frames(origin))
            for one, number in numbered
            for origin in (Origin(DENIED, number), Origin(ALLOWED, number))
        ]
        by_number = {number: one for one, number in numbered}
        plain = self._plain.hear(sent)
        result.shapes += len(numbered)
        result.delivered += sum(origin.side == ALLOWED for origin in plain)
        result.deniable += sum(
            any(is_denied(oracle, delivery) for delivery in heard)
            for origin, heard in plain.items()
            if origin.side == DENIED
        )
        for name, (server, engine) in self._judged.items():
            heard = server.hear(sent)
            for origin, kind, deliveries in _wrong(oracle, sent, plain, heard):
                shape = by_number[origin.number]
                if engine.name != "xdp" or not _is_meant(kind, shape.frames(origin), deliveries):
                    yield Finding(kind, name, policy, shape, deliveries)

    def _is_confirmed(self, oracle: Oracle, finding: Finding, result: Result) -> bool:
        """Whether a finding is confirmed: a leak or a recorded shape is; a drop must recur with the shape alone."""
        if finding.kind == LEAK or finding.shape.fixed is not None:
            return True
        side = ALLOWED if finding.kind == WRONG_DROP else DENIED
        server, _ = self._judged[finding.engine]
        for _ in range(TRIES - 1):
            origin = Origin(side, self._number())
            sent = [(origin, finding.shape.frames(origin))]
            if not any(_wrong(oracle, sent, self._plain.hear(sent), server.hear(sent))):
                result.lost[finding.engine] += 1
                return False
        return True


def _wrong(oracle: Oracle, sent: Sent, plain: Heard, heard: Heard) -> Iterator[tuple[Origin, str, frozenset[Delivery]]]:
    """Yield the deliveries that an engine wrongly let through or took away, by origin and kind."""
    for origin, frames in sent:
        before, after = plain.get(origin, set()), heard.get(origin, set())
        missing = before - after
        if origin.side == ALLOWED:
            kind, deliveries = WRONG_DROP, missing
        elif leaked := {one for one in after if is_denied(oracle, one)}:
            kind, deliveries = LEAK, leaked
        else:
            kind, deliveries = OVERREACH, {one for one in missing if not is_denied(oracle, one)}
            if deliveries and not all(passes(oracle, frame) for frame in frames):
                continue
        if deliveries:
            yield origin, kind, frozenset(deliveries)


def _is_meant(kind: str, frames: list[bytes], deliveries: frozenset[Delivery]) -> bool:
    """Whether xdp is meant to judge differently from what the stack reads."""
    if kind != LEAK:
        return is_behind_too_many_tags(frames)
    return is_hollow(frames) and not any(delivery.data for delivery in deliveries)


def _chunks(shapes: Iterable[Shape]) -> Iterator[list[Shape]]:
    iterator = iter(shapes)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


def _remove(server: Server, engine: ApplyingEngine) -> None:
    with server.namespace.entered():
        engine.remove()


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)
