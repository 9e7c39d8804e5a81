"""The tree stays easy to find one's way in: a test file for each source file, and files that read in one sitting."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "agent" / "geodrop"
UNIT = ROOT / "tests" / "unit"

MAX_LINES = 450

TESTED_ELSEWHERE: dict[str, str] = {}
"""Source files without a unit test of their own: where they are tested instead, and why."""


def has_code(path: Path) -> bool:
    """Whether a file is more than a docstring."""
    return len(path.read_text().splitlines()) > 5 or path.name != "__init__.py"


def unit_test(source: Path) -> Path:
    """Where the unit test of a source file belongs: geo/tree.py -> tests/unit/geo/test_tree.py."""
    name = "init" if source.name == "__init__.py" else source.stem.strip("_")
    return UNIT / source.relative_to(PACKAGE).parent / f"test_{name}.py"


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if has_code(path)]
FILES = [
    path
    for folder, pattern in (("agent", "*.py"), ("tests", "*.py"), ("bpf", "*.[ch]"))
    for path in sorted((ROOT / folder).rglob(pattern))
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_source_file_has_a_test_file(source: Path) -> None:
    """A reader who knows a source file knows its tests."""
    name = str(source.relative_to(PACKAGE))
    if name in TESTED_ELSEWHERE:
        assert not unit_test(source).exists(), f"{name} has a unit test now: take it off the list"
        return
    assert unit_test(source).is_file(), f"{unit_test(source).relative_to(ROOT)} is missing"


def test_every_unit_test_has_a_source_file() -> None:
    """A test file whose source was renamed or removed is found."""
    expected = {unit_test(source) for source in SOURCES}
    assert set(UNIT.rglob("test_*.py")) <= expected


def test_the_list_of_exceptions_is_true() -> None:
    """An exception names a file that exists."""
    assert set(TESTED_ELSEWHERE) <= {str(source.relative_to(PACKAGE)) for source in SOURCES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_reads_in_one_sitting(path: Path) -> None:
    """Files hold one idea: none is longer than a few screens."""
    assert len(path.read_text().splitlines()) <= MAX_LINES
