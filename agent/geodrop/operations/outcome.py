"""What a change of what is in force came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geodrop.engine.api import ApplyReport, Observed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was in force `before` and is `after`, both read back from the kernel.

    `report` is None if the kernel was like that already. `text` is one line for a person, where the change has one.
    `warnings` say what could not be written down, and where packets are not judged that should be, a line each.
    """

    before: Observed
    after: Observed
    report: ApplyReport | None = None
    text: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything is in force now that was not, or is judged elsewhere, or by another engine."""
        return self.before != self.after
