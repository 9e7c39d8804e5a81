# SPDX-License-Identifier: Apache-2.0
"""The nftables engine's table after `nft list ruleset` and `nft -f`, as a host that saves its rules has at boot."""

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
    """An engine whose table is saved by stock nft, removed, and loaded again by stock nft."""

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Load, save, remove, and load the saved text."""
        self.remove()
        report = super().apply(ruleset, generation, interfaces)
        saved = run("nft", "list", "table", "inet", names.TABLE)
        self.remove()
        run("nft", "-f", "-", stdin=saved)
        return report
