"""Engines that are given maps in which what is dropped is joined, as where a few countries are allowed."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING
from unittest import mock

from geodrop.compile import nftables
from geodrop.dataplane.nftables.engine import NftablesEngine
from tests.conformance.exported import ExportedEngine
from tests.conformance.saved import SavedEngine

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from geodrop.dataplane.engine import Engine

    Totals = dict[tuple[str, str, str | None, str], tuple[int, int]]


class JoinedEngine(NftablesEngine):
    """The engine as it is."""


class JoinedSavedEngine(SavedEngine):
    """Its table, saved and loaded again."""


class JoinedExportedEngine(ExportedEngine):
    """Its program as text."""


JOINED = (JoinedEngine, JoinedSavedEngine, JoinedExportedEngine)


def as_compiled_for(engine: Engine) -> AbstractContextManager[object]:
    """While it lasts, rulesets are compiled in the form that an engine is to be tried with, however small they are."""
    if not isinstance(engine, JOINED):
        return nullcontext()
    return mock.patch.object(nftables, "is_joined", return_value=True)


def as_counted_by(engine: Engine, expected: Totals) -> Totals:
    """What the counters say of these: what is dropped from joined maps counts as `other`."""
    if not isinstance(engine, JOINED):
        return expected
    found: Totals = {}
    for (service, family, label, what), (packets, size) in expected.items():
        key = service, family, label and "other", what
        before = found.get(key, (0, 0))
        found[key] = before[0] + packets, before[1] + size
    return found
