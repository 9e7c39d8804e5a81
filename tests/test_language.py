# SPDX-License-Identifier: Apache-2.0
"""Plain English: phrases that a reader stumbles over stay out of code, pages and comments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PHRASES = re.compile(
    r"\b(?:the same for who|for who|so many|anew|in vain|what nobody|whoever|somebody|blacklist|whitelist)\b",
    re.IGNORECASE,
)
"""Idiom of ours, actors without a name, and words that the field has given up."""

SUFFIXES = {".c", ".h", ".md", ".py", ".service", ".sh", ".socket", ".yml", ".yaml", ""}
FOLDERS = ("agent", "bpf", "deploy", "docs", "systemd", "tests")
HISTORY = ("docs/decisions", "CHANGELOG.md")
"""What was written once and is not changed."""

FILES = [
    path
    for path in (*ROOT.glob("*"), *(inside for folder in FOLDERS for inside in (ROOT / folder).rglob("*")))
    if path.is_file()
    and path.suffix in SUFFIXES
    and not path.name.startswith(".")
    and path != Path(__file__)
    and not str(path.relative_to(ROOT)).startswith(HISTORY)
]


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_stand_alone(path: Path) -> None:
    """Each says who does what, in words that a stranger knows."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    assert [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) if PHRASES.search(line)] == []
