# SPDX-License-Identifier: Apache-2.0
"""What another program has brought back: tables of ours that a later change had replaced or removed.

`systemctl reload nftables` loads a file that may hold `nft list ruleset` of an earlier day, with our table in it. Its
generation is whole and was right once, so only the intent tells that it is not what was asked for.

A change may also end between the switch and the write of the intent. Its generation is then newer than all that the
intent knows as finished, and counts (operations.change). The two are told apart by the number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.engine.api import Difference

if TYPE_CHECKING:
    from geodrop.engine.api import Observed
    from geodrop.state.intent import Intent


def is_ahead(intent: Intent, generation: int) -> bool:
    """Tell whether a generation of the kernel is newer than every change whose end the intent knows."""
    return generation > intent.generation or 0 < generation == intent.begun


def brought_back(intent: Intent, observed: Observed) -> Difference | None:
    """Return the difference if what is in force is an earlier state of ours; None if it is what was asked for.

    In a window the kernel holds what the window says or differs from it, and an unknown intent tells nothing.
    """
    generation, digest = observed.generation, observed.digest
    if intent.unknown or intent.confirm or not generation or is_ahead(intent, generation):
        return None
    found = f"ruleset {digest[:12] or 'unknown'} of generation {generation}"
    if intent.unloaded:
        return Difference("in force", "nothing, as `unload` left it", found)
    if not digest or not intent.digest or digest == intent.digest:
        return None
    return Difference("in force", f"ruleset {intent.digest[:12]}", found)
