"""What an operator may name, in agent.yaml and in what is remembered of it: interfaces and engines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGINES = ("auto", "nftables", "xdp")

LONGEST = 128
INTERFACE = re.compile(r"!?[^\s/:]{1,127}")
"""dev_valid_name in net/core/dev.c, as long as alternative names may be, with room for the patterns of fnmatch."""

MAX_NAMES = 256
"""More interfaces than that are named by patterns."""


def storable(names: Sequence[str]) -> tuple[str, ...] | None:
    """The names as an intent may hold them; None where it could not be read again with them."""
    good = len(names) <= MAX_NAMES and all(INTERFACE.fullmatch(name) for name in names)
    return tuple(names) if good else None
