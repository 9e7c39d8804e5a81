# SPDX-License-Identifier: Apache-2.0
"""Find slots for what is to be in force: those that hold it already, or those that no packet reads.

There are two slots of each kind. In a window both may be taken; then nothing else has room, and a new set is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from geodrop.xdp import encode
from geodrop.xdp.control import ControlWord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.control import Control
    from geodrop.xdp.program_set import ProgramSet

SLOTS = (1, 0)
"""In the order in which they are used in an empty set."""


class Wanted(NamedTuple):
    """A generation that should be in force, now or after a window."""

    generation: int
    ruleset: Ruleset


class Place(NamedTuple):
    """Where a generation is, or will be once its policy and its tables are filled."""

    word: ControlWord
    ruleset: Ruleset
    fill_policy: bool
    fill_tables: bool


def room_for(programs: ProgramSet, held: Control, wanted: Sequence[Wanted]) -> list[Place] | None:
    """Return a place for each generation, in order; None if there is no room beside what packets read now.

    Generations whose tables have the same digest share them. A ruleset that is loaded again, though, shares none that
    do not hold exactly its bytes: the reason may be that another program has overwritten them.
    """
    policies = held.policies
    there = {word.tables: programs.tables_digest(word.policy) for word in held.words}
    planned: dict[int, bytes] = {}
    found = []
    for one in wanted:
        if word := next((word for word in held.words if _holds(programs, word, one)), None):
            found.append(Place(word, one.ruleset, fill_policy=False, fill_tables=False))
            continue
        digest = encode.tables_digest(one.ruleset)
        policy = next((slot for slot in SLOTS if slot not in policies), None)
        same = next((slot for slot in SLOTS if planned.get(slot) == digest), None)
        if same is None:
            alike = (slot for slot in SLOTS if there.get(slot) == digest)
            same = next((slot for slot in alike if not _is_damaged(programs, held, slot, one.ruleset)), None)
        free = next((slot for slot in SLOTS if slot not in there | planned), None)
        slot = free if same is None else same
        if policy is None or slot is None:
            return None
        policies.add(policy)
        if same is None:
            planned[slot] = digest
        word = ControlWord(one.generation, slot, policy)
        found.append(Place(word, one.ruleset, fill_policy=True, fill_tables=same is None))
    return found


def _holds(programs: ProgramSet, word: ControlWord, wanted: Wanted) -> bool:
    """Tell whether a word stands for exactly this generation."""
    return word.generation == wanted.generation and _digest(programs, word) == wanted.ruleset.digest


def _is_damaged(programs: ProgramSet, held: Control, slot: int, ruleset: Ruleset) -> bool:
    """Tell whether tables, of which the same ruleset has them already, differ from it; another one's are not compared:
    that takes ten times as long as all else of a change of verdicts, and an audit finds it too.
    """
    again = any(word.tables == slot and _digest(programs, word) == ruleset.digest for word in held.words)
    return again and bool(programs.tables_differ(slot, ruleset))


def _digest(programs: ProgramSet, word: ControlWord) -> str:
    return bytes(programs.head(word.policy).digest).hex()
