# SPDX-License-Identifier: Apache-2.0
"""Warn of a list file, written by another program, that has lost most of its prefixes since the previous ruleset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.document.problems import Problem
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.policy.model import Policy
    from geodrop.ruleset.model import Input

FEW = 10
"""Lists of fewer prefixes are taken to be edited by hand, where lines are removed on purpose."""


def shrunken(policy: Policy, before: Iterable[Input]) -> list[Problem]:
    """Return a warning for each list file that has less than half of the prefixes that it had before."""
    had = {one.name: one.prefixes or 0 for one in before if one.kind == "list"}
    problems = []
    for entry in policy.lists.values():
        old, new = had.get(harmless(entry.file), 0) if entry.file else 0, len(entry.prefixes)
        if old >= FEW and new * 2 < old:
            problems.append(
                Problem(
                    entry.place,
                    f"{harmless(entry.file or '')} has {new:,} of the {old:,} prefixes that it had in the ruleset "
                    "asked for last; check whether it was fetched completely",
                    "warning",
                    policy.source(entry.place),
                )
            )
    return sorted(problems)
