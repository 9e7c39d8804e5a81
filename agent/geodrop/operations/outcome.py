# SPDX-License-Identifier: Apache-2.0
"""The outcome of a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geodrop.engine.api import ApplyReport, Observed
    from geodrop.state.unconfirmed import Unconfirmed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was in force `before` and is `after`, both read back from the kernel.

    `report` is None if the kernel already was as wanted. `text` is one line for a person, if the change has one.
    `warnings`, a line each, say what could not be written, and where packets should be judged but are not. `confirm` is
    set if the change has to be confirmed.
    """

    before: Observed
    after: Observed
    report: ApplyReport | None = None
    text: str = ""
    warnings: tuple[str, ...] = ()
    confirm: Unconfirmed | None = None

    @property
    def changed(self) -> bool:
        """Whether the generation, ruleset, interfaces or engines in force differ from before."""
        return self.before != self.after
