# SPDX-License-Identifier: Apache-2.0
"""The nftables engine with overlays alone: each base holds only half of the ruleset, and much that is wrong."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING
from unittest import mock

from geodrop.engine.api import ApplyReport, Scope
from geodrop.nftables import overlay
from geodrop.nftables.engine import NftablesEngine
from geodrop.ruleset import container
from geodrop.ruleset.model import Ruleset, meta_json

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = {"ipv4": 4, "ipv6": 16}


class OverlayEngine(NftablesEngine):
    """An engine that loads every ruleset as an overlay; the size and difference limits for overlays are lifted."""

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Load a different ruleset, and then the wanted one over it."""
        other = something_else(ruleset)
        super().apply(other, 2 * generation, interfaces)
        with (
            mock.patch.multiple(overlay, LARGEST=0, SMALLEST=0),
            self.staged(ruleset, 2 * generation + 1, {other.digest: other}.get) as staged,
        ):
            staged.switch(Scope(tuple(interfaces)))
        has_maps = any(len(section) for name, section in other.sections.items() if name.endswith("/targets"))
        assert self.is_overlay() == has_maps
        assert self.verify(ruleset) == []
        return ApplyReport(generation, staged.seconds, staged.note)


def something_else(ruleset: Ruleset) -> Ruleset:
    """Return a ruleset without every second interval, in which the others have their neighbours' targets."""
    sections = {name: bytes(section) for name, section in ruleset.sections.items()}
    for name in [name for name in sections if name.endswith("/targets")]:
        start = name.removesuffix("targets")
        width = WIDTH[start.split("/")[-2]]
        targets = array("H", sections[name])[::2]
        # Targets rotate within one map: an IPv4 interval must not become an embedded one, and an IPv6 interval must not
        # become one half of what lies beside a never-drop prefix.
        sections[name] = array("H", [*targets[1:], *targets[:1]]).tobytes()
        for column in ("starts", "ends"):
            whole = sections[start + column]
            rows = [whole[at : at + width] for at in range(0, len(whole), width)]
            sections[start + column] = b"".join(rows[::2])
    return Ruleset.unpack(container.pack(meta_json(ruleset.meta), sections), "something else")
