"""The demo's policies are the published example and a real edit of it."""

from __future__ import annotations

from pathlib import Path

from geodrop.demo import policies

DEPLOYED = Path(__file__).parents[3] / "deploy" / "policies" / "ai-api-allow-list.yaml"


def test_the_first_policy_is_the_published_example() -> None:
    """The example in deploy/ and the one in the package have the same text."""
    assert policies.example() == DEPLOYED.read_text()


def test_the_edit_is_what_is_shown() -> None:
    """The two policies differ only by the removed and the added lines, once each."""
    first, second = policies.example().splitlines(), policies.edited(policies.example()).splitlines()
    removed = [line[1:] for line in policies.edit() if line.startswith("-")]
    added = [line[1:] for line in policies.edit() if line.startswith("+")]
    at = first.index(removed[0])
    assert removed
    assert added
    assert second == [*first[:at], *added, *first[at + len(removed) :]]
