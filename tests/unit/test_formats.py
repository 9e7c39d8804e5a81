# SPDX-License-Identifier: Apache-2.0
import pytest

from geodrop import formats
from geodrop.errors import NewerError, OutdatedError
from geodrop.formats import NumberedFormat

THIRD = NumberedFormat("ruleset", 3)


@pytest.mark.parametrize(("number", "read"), [(0, False), (1, False), (2, True), (3, True), (4, False)])
def test_own_and_the_one_before_are_read(number: int, read: bool) -> None:  # noqa: FBT001 - a case
    """A release reads its own format and the one before, and no other."""
    assert THIRD.reads(number) is read


def test_the_first_format_has_none_before() -> None:
    """Nothing is read as format 0."""
    first = NumberedFormat("control socket", 1)
    assert [number for number in range(4) if first.reads(number)] == [1]


def test_a_refusal_tells_newer_from_older() -> None:
    """Both are 65. The newer one says what can be done on this host, the older one what its reader suggests."""
    newer, older = THIRD.refusal(4, "/s/x", "compile it again"), THIRD.refusal(1, "/s/x", "compile it again")
    assert isinstance(newer, NewerError)
    assert str(newer) == f"/s/x: written by a newer geodrop, format 4; this one reads up to 3; {formats.UPGRADE}"
    assert isinstance(older, OutdatedError)
    assert str(older) == "/s/x: ruleset format 1 is no longer read; compile it again"
    assert newer.exit_code == older.exit_code == 65
