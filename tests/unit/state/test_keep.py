# SPDX-License-Identifier: Apache-2.0
"""The choice of rulesets that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.ruleset import container
from geodrop.state.keep import Keep, Kept

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_000_000.0


def packed(folder: Path, content: bytes, base: Path | None = None) -> Path:
    """Write a ruleset file under its digest, a delta file if there is a base."""
    sections = {"large": bytes(4096), "small": content}
    data = container.pack({}, sections, container.open_file(base) if base else None)
    path = folder / f"{container.digest_of(data)}.ruleset"
    path.write_bytes(data)
    return path


def test_a_base_counts_with_what_needs_it(tmp_path: Path) -> None:
    """A base stays with its delta file, however old it is, and its bytes count towards the limit."""
    base = packed(tmp_path, b"base")
    delta = packed(tmp_path, b"delta", base)
    kept = [Kept(base, 4096, NOW - 900), Kept(delta, 100, NOW)]
    for keep, left in ((Keep(500), {base, delta}), (Keep(500, size=4000), set()), (Keep(500, count=1), set())):
        assert keep.exceeded(kept, (), NOW)
        assert {base, delta} - set(keep.surplus(kept, (), NOW)) == left
    assert Keep(500, count=1).surplus(kept, (delta.stem,), NOW) == []


def test_nothing_to_forget(tmp_path: Path) -> None:
    """Rulesets that are young, few and small enough stay; a needed one stays at any age."""
    kept = [Kept(tmp_path / "a.ruleset", 10, NOW), Kept(tmp_path / "b.ruleset", 10, NOW - 900)]
    assert not Keep(500, 2, 20).exceeded(kept, ("b",), NOW)
    assert Keep(500, 2, 20).exceeded(kept, (), NOW)
    assert Keep(500, 1, 20).exceeded(kept, ("b",), NOW)
    assert Keep(500, 2, 19).exceeded(kept, ("b",), NOW)


def test_one_that_is_gone_meanwhile(tmp_path: Path) -> None:
    """A file that was removed meanwhile has size 0."""
    assert Kept.of(tmp_path / "none").size == 0
