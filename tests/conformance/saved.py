"""The nftables engine's table after `nft list ruleset` and `nft -f`: what a host that saves its rules boots with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.nftables import names
from geodrop.nftables.engine import NftablesEngine
from tests.support.namespaces import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.engine.api import ApplyReport
    from geodrop.ruleset.model import Ruleset


class SavedEngine(NftablesEngine):
    """Whatever is loaded is saved by stock nft, removed, and loaded by stock nft from what it saved."""

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Load, save, remove, load."""
        self.remove()
        report = super().apply(ruleset, generation, interfaces)
        saved = run("nft", "list", "table", "inet", names.TABLE)
        self.remove()
        run("nft", "-f", "-", stdin=saved)
        return report
