# SPDX-License-Identifier: Apache-2.0
"""Shapes to try, from a seed or from the list of those judged wrong before, and what is found for one."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tests.conformance.fuzz.shapes import shape
from tests.conformance.fuzz.sides import ALLOWED, DENIED, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.fuzz.ears import Delivery

LIST = Path(__file__).with_name("findings.txt")

WRITTEN = 0xE00000
"""Numbers of recorded shapes start here; their frames hold the number, so each shape keeps its own."""


class Shape(Protocol):
    """A shape that both sides can send."""

    @property
    def fixed(self) -> int | None:
        """Return the number that its frames hold, if only that number can send it."""

    def frames(self, origin: Origin) -> list[bytes]:
        """Return the frames as the origin sends them."""


@dataclass(frozen=True)
class Random:
    """A shape of a seed, which any number may send."""

    seed: str
    number: int
    fixed: int | None = None

    def __str__(self) -> str:
        return f"SEED={self.seed} number {self.number}"

    def frames(self, origin: Origin) -> list[bytes]:
        """Return the frames as the origin sends them."""
        return shape(self.seed, self.number, origin)


@dataclass(frozen=True)
class Written:
    """A recorded shape: what it is, its number, and its frames by side."""

    name: str
    fixed: int
    sides: dict[int, list[bytes]]

    def __str__(self) -> str:
        return f"findings.txt: {self.name}"

    def frames(self, origin: Origin) -> list[bytes]:
        """Return the frames as the origin sends them."""
        assert origin.number == self.fixed
        return self.sides[origin.side]


@dataclass(frozen=True)
class Finding:
    """A shape that an engine judges wrong under a policy, and the deliveries that show it."""

    kind: str
    engine: str
    policy: str
    shape: Shape
    deliveries: frozenset[Delivery]

    def __str__(self) -> str:
        what = ", ".join(f"{d.socket} socket, protocol {d.protocol}, {d.data[:8].hex()}" for d in self.deliveries)
        lines = [f"{self.kind} on {self.engine}, policy {self.policy!r}, {self.shape}: {what}"]
        if self.shape.fixed is None:
            lines.append(f"  for {LIST.name}: {line(self.shape, self.policy)}")
        return "\n".join(lines)


LEAK, WRONG_DROP, OVERREACH = "LEAK", "WRONG DROP", "OVERREACH"
"""Read from the denied side; no longer read from the allowed side; no longer read from the denied one though no service
takes it.
"""


def line(shape: Shape, policy: str) -> str:
    """Return a shape as a line for the list."""
    number = WRITTEN | zlib.crc32(str(shape).encode()) & 0xFFFFF
    sides = (",".join(frame.hex() for frame in shape.frames(Origin(side, number))) for side in (DENIED, ALLOWED))
    return " ".join([policy.replace(" ", "_"), f"{number:x}", *sides])


def written_down(policy: str) -> Iterator[Written]:
    """Yield the recorded shapes that were judged wrong under a policy."""
    comment = ""
    for text in LIST.read_text(encoding="ascii").splitlines():
        if text.startswith("#"):
            comment = text.lstrip("# ")
        elif text.startswith(policy.replace(" ", "_") + " "):
            _, number, *sides = text.split(" ")
            denied, allowed = ([bytes.fromhex(frame) for frame in side.split(",")] for side in sides)
            yield Written(comment, int(number, 16), {DENIED: denied, ALLOWED: allowed})
