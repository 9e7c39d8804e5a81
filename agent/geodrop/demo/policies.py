# SPDX-License-Identifier: Apache-2.0
"""The demo's policies: the example allow list, the list after an edit such as an operator would make, and a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE = Path(__file__).with_name("ai-api-allow-list.yaml")
"""A copy in the package of deploy/policies/ai-api-allow-list.yaml."""

OLD_LINES = ("    allow: [group:supported]",)
NEW_LINES = ("    allow: [group:supported, VE]", "    deny: [CH]")

MISTAKEN_LINES = ("    allow: []",)


def example() -> str:
    """Return the first policy."""
    return EXAMPLE.read_text(encoding="utf-8")


def edited(policy: str) -> str:
    """Return the second policy: one more country is supported, and a supported country is denied."""
    return _replaced(policy, NEW_LINES)


def mistaken(policy: str) -> str:
    """Return the first policy with an allow list that allows nobody."""
    return _replaced(policy, MISTAKEN_LINES)


def edit() -> list[str]:
    """Return the edit as lines of a diff."""
    return _diff(OLD_LINES, NEW_LINES)


def mistake() -> list[str]:
    """Return the mistake as lines of a diff against the second policy."""
    return _diff(NEW_LINES, MISTAKEN_LINES)


def _replaced(policy: str, by: Iterable[str]) -> str:
    old, new = ("\n".join(lines) + "\n" for lines in (OLD_LINES, by))
    return policy.replace(old, new)


def _diff(old: Iterable[str], new: Iterable[str]) -> list[str]:
    return [*(f"-{line}" for line in old), *(f"+{line}" for line in new)]
