# SPDX-License-Identifier: Apache-2.0
"""Compare the numbers of a section with a limit or with each other: thousands at once, without an object for each."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Order = Literal["little", "big"]

CHUNK = 4_096
"""Numbers that are compared at once."""


def all_below(limit: int, section: memoryview) -> bool:
    """Return whether every little-endian uint16 of a section is below a limit.

    Below the surrogates this is a match on UTF-16 text, which makes no object for each number.
    """
    if not 0 < limit < 0xD800:
        return max(section.cast("H"), default=-1) < limit
    found = section.tobytes().decode("utf-16-le", "surrogatepass")
    return re.fullmatch(f"[\0-{re.escape(chr(limit - 1))}]*", found) is not None


def below(before: memoryview, after: memoryview, width: int, order: Order, *, strictly: bool = True) -> bool:
    """Return whether each address in `before`, `width` bytes wide, is below the address at the same place in `after`.

    A chunk of addresses is handled as one long number, so that one subtraction compares all of them: where it borrows
    from the next address, the address in `after` was not greater.
    """
    for at in range(0, len(before), CHUNK * width):
        low = int.from_bytes(before[at : at + CHUNK * width], order)
        high = int.from_bytes(after[at : at + CHUNK * width], order)
        ones = _ones(width, min(len(before) - at, CHUNK * width) // width)
        least = high - ones if strictly else high
        left = least - low
        if least < 0 or left < 0 or ((least ^ low ^ left) | (strictly and high ^ ones ^ least)) & ones:
            return False
    return True


@lru_cache(4)
def _ones(width: int, count: int) -> int:
    """Return a long number that holds `count` addresses, each with the value 1."""
    return int.from_bytes((b"\1" + bytes(width - 1)) * count, "little")
