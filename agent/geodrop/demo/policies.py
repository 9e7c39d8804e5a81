"""The demo's two policies: the example allow list, and the list after an edit such as an operator would make."""

from __future__ import annotations

from pathlib import Path

EXAMPLE = Path(__file__).with_name("ai-api-allow-list.yaml")
"""A copy in the package of deploy/policies/ai-api-allow-list.yaml."""

OLD_LINES = ("    allow: [group:supported]",)
NEW_LINES = ("    allow: [group:supported, VE]", "    deny: [CH]")


def example() -> str:
    """Return the first policy."""
    return EXAMPLE.read_text(encoding="utf-8")


def edited(policy: str) -> str:
    """Return the second policy: one more country is supported, and a supported country is denied."""
    old, new = ("\n".join(lines) + "\n" for lines in (OLD_LINES, NEW_LINES))
    return policy.replace(old, new)


def edit() -> list[str]:
    """Return the edit as lines of a diff."""
    return [*(f"-{line}" for line in OLD_LINES), *(f"+{line}" for line in NEW_LINES)]
