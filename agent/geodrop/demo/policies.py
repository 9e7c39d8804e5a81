"""The two policies of the demo: the example allow list, and the same after an edit such as an operator would make."""

from __future__ import annotations

from pathlib import Path

EXAMPLE = Path(__file__).with_name("ai-api-allow-list.yaml")
"""deploy/policies/ai-api-allow-list.yaml, which the package carries too."""

OLD_LINES = ("    allow: [group:supported]",)
NEW_LINES = ("    allow: [group:supported, VE]", "    deny: [CH]")


def example() -> str:
    """The first policy."""
    return EXAMPLE.read_text(encoding="utf-8")


def edited(policy: str) -> str:
    """The second one: a country that was not supported is, and one that was is no longer."""
    old, new = ("\n".join(lines) + "\n" for lines in (OLD_LINES, NEW_LINES))
    return policy.replace(old, new)


def edit() -> list[str]:
    """The edit as a reader of diffs expects it."""
    return [*(f"-{line}" for line in OLD_LINES), *(f"+{line}" for line in NEW_LINES)]
