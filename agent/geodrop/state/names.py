# SPDX-License-Identifier: Apache-2.0
"""The forms of names and texts in state files; of interfaces and engines also in agent.yaml."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGINES = ("auto", "nftables", "xdp")

LONGEST = 128
INTERFACE = re.compile(r"!?[^\s/:]{1,127}")
"""As dev_valid_name in net/core/dev.c, as long as alternative names may be, with room for patterns of fnmatch."""

MAX_NAMES = 256
"""Most names; more interfaces than that are named by patterns."""

MAX_GENERATION = 1 << 48
MAX_WHY = 1_000
"""Most characters of a reason given by a person: it is in each line of the history, and shown in each status."""
MAX_TEXT = 2000
"""Most characters of each text from outside."""

ANY = re.compile(".*", re.DOTALL)
DIGEST = re.compile("[0-9a-z]*")  # it names a file


def storable(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names as an intent may hold them; None if an intent with them could not be read back."""
    good = len(names) <= MAX_NAMES and all(INTERFACE.fullmatch(name) for name in names)
    return tuple(names) if good else None
