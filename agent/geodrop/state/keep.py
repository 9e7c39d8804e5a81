# SPDX-License-Identifier: Apache-2.0
"""Decide which rulesets that are not in force are kept: the youngest, within limits of age, number and size."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from geodrop.ruleset import container

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

YEAR = 365 * 86_400


class Kept(NamedTuple):
    """A ruleset in the state directory: its size in bytes, and when it ceased to be in force, in seconds since the
    epoch.
    """

    path: Path
    size: int
    retired: float

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return size and time of a file; a file removed meanwhile has size 0. Raises OSError."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return cls(path, 0, time.time())
        return cls(path, found.st_size, found.st_mtime)


@dataclass(frozen=True, slots=True)
class Keep:
    """The `keep` key of agent.yaml: how many seconds rulesets are kept, how many, and how many bytes of them.

    `audit` is for how many seconds the records of the history are kept.
    """

    seconds: int = 10 * YEAR
    count: int = 1_000
    size: int = 500_000_000
    audit: int = 10 * YEAR

    @classmethod
    def everything(cls) -> Self:
        """Return limits under which nothing is removed, for when it is unknown what may be removed."""
        return cls(sys.maxsize, sys.maxsize, sys.maxsize, sys.maxsize)

    def exceeded(self, kept: Sequence[Kept], needed: Collection[str], now: float) -> bool:
        """Return whether a limit is exceeded, so that rulesets may have to be removed."""
        return (
            len(kept) > self.count
            or sum(one.size for one in kept) > self.size
            or any(one.retired < now - self.seconds and one.path.stem not in needed for one in kept)
        )

    def surplus(self, kept: Sequence[Kept], needed: Collection[str], now: float) -> list[Path]:
        """Return the files to remove: the oldest that are not needed. A base stays while a kept delta file needs it."""
        by_path = {str(one.path): one for one in kept}
        stay: dict[str, Kept] = {}

        def with_base(one: Kept) -> dict[str, Kept]:
            base = by_path.get(container.base_path(one.path))
            return {str(found.path): found for found in (one, base) if found}

        for one in kept:
            if one.path.stem in needed:
                stay |= with_base(one)
        for one in sorted(kept, key=lambda one: one.retired, reverse=True):
            more = stay | with_base(one)
            size = sum(found.size for found in more.values())
            if one.retired < now - self.seconds or len(more) > self.count or size > self.size:
                break
            stay = more
        return [one.path for one in kept if str(one.path) not in stay]
