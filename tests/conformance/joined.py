# SPDX-License-Identifier: Apache-2.0
"""Engines with joined maps, as in policies where only a few countries are allowed: all that is dropped is joined."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from unittest import mock

from geodrop.compile import nftables
from geodrop.nftables.engine import NftablesEngine
from tests.conformance.exported import ExportedEngine
from tests.conformance.saved import SavedEngine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from geodrop.engine.api import ApplyReport, Engine
    from geodrop.ruleset.model import Ruleset
    from tests.oracle.packet import Judgement, Packet


class JoinedEngine(NftablesEngine):
    """An engine with a second map that splits counters by region."""

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Load, and split the counters by region."""
        report = super().apply(ruleset, generation, interfaces)
        assert self.count_regions(ruleset) == any(one.counted for one in ruleset.meta.services)
        assert self.verify(ruleset) == []
        return report


class JoinedSavedEngine(SavedEngine, JoinedEngine):
    """The same engine, saved and loaded again."""


class JoinedExportedEngine(ExportedEngine):
    """The same as exported text, which counts everything as `other`."""


JOINED = (JoinedEngine, JoinedSavedEngine, JoinedExportedEngine)


EMBEDDED = [ip_network(text) for text in ("2002::/16", "2001::/32", "64:ff9b::/96", "::ffff:0:0/96")]


def as_compiled_for(engine: Engine) -> AbstractContextManager[object]:
    """In this context, compile rulesets in the form that the engine is tested with, however small they are."""
    if not isinstance(engine, JOINED):
        return nullcontext()
    return mock.patch.object(nftables, "is_joined", return_value=True)


def as_counted_by(engine: Engine, packet: Packet, judgement: Judgement) -> Judgement:
    """Return the judgement with `other` in place of the classes that joined maps do not distinguish.

    These are the regions of IPv4 addresses inside IPv6 ones. An export distinguishes no classes.
    """
    if not isinstance(engine, JOINED):
        return judgement
    inside = any(ip_address(packet.source) in network for network in EMBEDDED)

    def counted(label: str) -> str:
        of_the_whole = label.count(":") > 1  # the line is an IPv6 prefix
        return "other" if isinstance(engine, ExportedEngine) or (inside and not of_the_whole) else label

    counts = [(service, label and counted(label), what) for service, label, what in judgement.counts]
    return replace(judgement, counts=tuple(counts))
