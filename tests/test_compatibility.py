# SPDX-License-Identifier: Apache-2.0
"""docs/compatibility.md is true: each name that it promises is there, and its tables have the numbers of the code."""

from __future__ import annotations

import re

from tests.compatibility import PROMISED, ROOT, SCHEMAS, present, with_json
from tests.formats import make

PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
AGAIN = "python -m tests.compatibility"


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table whose head begins with these cells."""
    [_, after] = PAGE.split(f"| {heading} |", 1)
    lines = after.split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_what_is_promised_is_there() -> None:
    """Nothing that operators rely on goes by accident, and what is new is promised from now on."""
    promised, found = PROMISED.read_text().splitlines(), present()
    assert sorted(set(promised) - set(found)) == [], "a promise is broken: see docs/compatibility.md"
    assert sorted(set(found) - set(promised)) == [], f"promise it: {AGAIN}"
    assert promised == found


def test_each_verb_with_json_has_a_schema() -> None:
    """The table has every verb that prints JSON, with the number that its objects have."""
    assert set(SCHEMAS) == with_json()
    told = {row[0]: row[1] for row in rows("verb | `schema`")}
    assert told == {verb: str(numbers[0]) for verb, numbers in SCHEMAS.items()}
    assert all(len(set(numbers)) == 1 for numbers in SCHEMAS.values())


def test_the_table_of_formats_is_that_of_the_code() -> None:
    """Each format has its present number in the table."""
    names = {
        "accepted": "accepted rulesets",
        "unwritten": "unwritten state",
        "control": "control socket",
        "program-set": "program set",
    }
    told = {name: int(number) for name, number, _ in rows("format | number | where")}
    assert told == {names.get(name, name): number for name, (number, *_) in make.MADE.items() if name != "delta"}


def test_the_exit_codes_are_told() -> None:
    """The page has each exit code."""
    [told] = re.findall(r"exit codes: ([0-9, ]+)", PAGE)
    assert {f"exit {code}" for code in told.strip(", ").split(", ")} == {
        line for line in present() if line.startswith("exit ")
    }


def test_the_kernels_are_those_of_the_readme() -> None:
    """README and this page name the same releases."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "Debian 12 or 13 or Ubuntu 24.04" in readme
    assert "| releases | Debian 12 and 13, Ubuntu 24.04 |" in PAGE
