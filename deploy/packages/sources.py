# SPDX-License-Identifier: Apache-2.0
"""What packages are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.packages import wheels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sources:
    """What packages are made of: geodrop's wheel, the locked ones, and the time of all files (seconds, Unix)."""

    geodrop: Path
    locked: Sequence[Path]
    epoch: int

    @property
    def wheels(self) -> list[Path]:
        """Geodrop's wheel, and of the locked ones those that geodrop imports; each once."""
        wanted = wheels.imported()
        chosen = {path.name: path for path in self.locked if wheels.name_of(path) in wanted}
        return [self.geodrop, *chosen.values()]
