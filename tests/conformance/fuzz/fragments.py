# SPDX-License-Identifier: Apache-2.0
"""Random fragments: in any order, repeated, missing, overlapping, and with wrong fields."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.oracle.packet import DESTINATION, HOP_BY_HOP, ICMPV6, TCP, UDP

if TYPE_CHECKING:
    import random


@dataclass(frozen=True)
class Piece:
    """One fragment: its offset in bytes, whether more follow, the protocol it claims, and its data."""

    offset: int
    more: bool
    following: int
    data: bytes


def cut(body: bytes, following: int, at: list[int]) -> list[Piece]:
    """Return honest fragments; `at` are the positions where they begin, besides the first, in multiples of 8."""
    bounds = [0, *sorted({place for place in at if 0 < place < len(body)}), len(body)]
    return [Piece(start, end != len(body), following, body[start:end]) for start, end in itertools.pairwise(bounds)]


def pieces(chance: random.Random, body: bytes, following: int) -> list[Piece]:
    """Return fragments of `body`; half of them are honest, though cut anywhere."""
    units = max(1, (len(body) + 7) // 8)
    near = [8 * chance.choice([1, 1, 1, 2, 2, 3, 4, 5])]
    anywhere = [8 * chance.randrange(1, units + 1) for _ in range(chance.choice([0, 0, 1, 2, 4]))]
    honest = cut(body, following, near + anywhere)
    if chance.random() < 0.4:
        return honest
    if chance.random() < 0.5:
        chance.shuffle(honest)
        return honest
    lying = [_lie(chance, piece, body) for piece in honest]
    for _ in range(chance.choice([0, 0, 1, 2])):
        lying.insert(chance.randrange(len(lying) + 1), chance.choice(lying))
    if chance.random() < 0.2:
        lying.pop(chance.randrange(len(lying)))
    if chance.random() < 0.5:
        chance.shuffle(lying)
    return lying


def _lie(chance: random.Random, piece: Piece, body: bytes) -> Piece:
    what = chance.randrange(8)
    if what == 0:
        return replace(piece, following=chance.choice([TCP, UDP, ICMPV6, DESTINATION, HOP_BY_HOP, 59]))
    if what == 1:
        return replace(piece, more=not piece.more)
    if what == 2:
        return replace(piece, offset=max(0, piece.offset + chance.choice([-16, -8, 8, 16])))
    if what == 3:  # beyond its end, overlapping the next one
        end = piece.offset + len(piece.data) + chance.choice([8, 16])
        return replace(piece, data=body[piece.offset : end])
    if what == 4:
        return replace(piece, data=piece.data[: chance.randrange(len(piece.data) + 1)])
    if what == 5:
        return replace(piece, data=chance.randbytes(len(piece.data)))
    return piece
