"""The demo's policies are the published example and a real edit of it."""

from __future__ import annotations

from pathlib import Path

from geodrop.demo import policies

DEPLOYED = Path(__file__).parents[3] / "deploy" / "policies" / "ai-api-allow-list.yaml"


def test_the_first_policy_is_the_published_example() -> None:
    """One text, in deploy/ for operators and in the package for the demo."""
    assert policies.example() == DEPLOYED.read_text()


def test_the_edit_is_what_is_shown() -> None:
    """Taking the removed lines out and the added lines in, once, is the whole difference."""
    first, second = policies.example().splitlines(), policies.edited(policies.example()).splitlines()
    removed = [line[1:] for line in policies.edit() if line.startswith("-")]
    added = [line[1:] for line in policies.edit() if line.startswith("+")]
    at = first.index(removed[0])
    assert removed
    assert added
    assert second == [*first[:at], *added, *first[at + len(removed) :]]
