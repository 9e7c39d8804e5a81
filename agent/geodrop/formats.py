# SPDX-License-Identifier: Apache-2.0
"""The formats of what outlives a process: the number that each carries, and the numbers that this release reads.

A release writes its own format, and reads it and the one before. So an upgrade finds what the release before it has
left. What a newer release has left is refused, and stays as it is: what is in force goes on, and `status` says so
(docs/decisions/0043-formats.md). A test holds the bytes of each format (tests/formats).
"""

from __future__ import annotations

from typing import NamedTuple

from geodrop.errors import DataError, NewerError, OutdatedError

FIRST = 1
"""The format of a state file without a number: such files were written before there were numbers."""

LARGEST = (1 << 32) - 1
"""The largest number that the header of a ruleset file can hold."""

UPGRADE = "upgrade geodrop to the version that wrote it, or to a later one"


class NumberedFormat(NamedTuple):
    """One format: `what` has it, and the `number` that is written."""

    what: str
    number: int

    @property
    def before(self) -> int:
        """The number of the format before, which is read too; that of the first format is its own."""
        return max(self.number - 1, FIRST)

    def reads(self, number: int) -> bool:
        """Return whether this release reads the format of a number."""
        return self.before <= number <= self.number

    def refusal(self, number: int, name: str, next_step: str) -> DataError:
        """Return the failure for a file of a format that is not read; `next_step` is for one that is too old."""
        if number > self.number:
            return NewerError(f"{name}: {by_newer(number)}; this one reads up to {self.number}", UPGRADE)
        return OutdatedError(f"{name}: {self.what} format {number} is no longer read", next_step)


def by_newer(number: int) -> str:
    """Return what messages say of a file of a later format."""
    return f"written by a newer geodrop, format {number}"


RULESET = NumberedFormat("ruleset", 3)
INTENT = NumberedFormat("intent", 2)
HISTORY = NumberedFormat("history", 2)
EXEMPTIONS = NumberedFormat("exemptions", 2)
ACCEPTED = NumberedFormat("accepted rulesets", 1)
UNWRITTEN = NumberedFormat("unwritten state", 2)
PROTOCOL = NumberedFormat("control socket", 1)
"""Here there is no file: a command and a daemon of two versions meet between an upgrade and the restart."""
