# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from geodrop.compile.feeds import shrunken
from geodrop.ruleset.model import Input
from tests.unit.policy.policies import load

POLICY = """
lists:
  bad: {file: lists/bad.txt}
  own: {prefixes: [9.9.9.9]}
services: {api: {default: allow, unknown: allow, deny: [list:bad, list:own]}}
"""


def said(new: int, old: int | None, *, kind: str = "list", name: str = "lists/bad.txt") -> list[str]:
    """Return the warning for a list with `new` prefixes that had `old` before."""
    data = "".join(f"9.9.{number}.0/25\n" for number in range(new)) or "# none\n"
    policy, _ = load(POLICY, {"lists/bad.txt": data.encode()})
    return [str(problem) for problem in shrunken(policy, [Input(kind, name, "0" * 64, prefixes=old)])]


@pytest.mark.parametrize(("new", "old"), [(4, 10), (0, 10), (40, 1_000), (9, 20)])
def test_a_list_that_lost_most_is_warned_of(new: int, old: int) -> None:
    """A list with less than half of its former prefixes gets a warning with both figures and the policy's line."""
    (text,) = said(new, old)
    assert text == (
        f"etc/policy.yaml:4:3: warning: lists/bad.txt has {new:,} of the {old:,} prefixes that it had in the ruleset "
        "asked for last; check whether it was fetched completely\n      bad: {file: lists/bad.txt}\n      ^"
    )


@pytest.mark.parametrize(
    ("new", "old"),
    [(5, 10), (200, 10), (0, 9), (10, None)],
)
def test_what_grows_is_small_or_was_not_counted_is_not(new: int, old: int | None) -> None:
    """There is no warning for half of the prefixes, for a short list, and for a list without a former count."""
    assert said(new, old) == []


def test_only_the_list_of_that_name_counts() -> None:
    """Another list, or a database of the same name, is not compared."""
    assert said(0, 100, name="lists/other.txt") == []
    assert said(0, 100, kind="database") == []
