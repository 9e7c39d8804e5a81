# SPDX-License-Identifier: Apache-2.0
"""Lines for a person about a load that waits."""

from __future__ import annotations

import pytest

from geodrop.cli.unconfirmed import back_to, lines, spelled

WAITS = {"digest": "9a41c07be212" + "0" * 52, "previous": 41, "deadline": "2026-01-01T14:07:31Z", "seconds_left": 300}


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (45, "45 s"), (130, "2 min 10 s"), (3_600, "1 h"), (86_399, "23 h 59 min 59 s")]
)
def test_times_in_words(seconds: int, said: str) -> None:
    """Units without a share are left out."""
    assert spelled(seconds) == said


def test_what_to_do_is_said() -> None:
    """When, to what, and both commands; to nothing, if nothing was in force."""
    first, second = lines(WAITS)
    assert first == (
        "not confirmed: the kernel goes back to 41 at 2026-01-01T14:07:31Z, in 5 min, even if nobody is left"
    )
    assert second == "  keep: geodrop confirm 9a41c07be212    undo now: geodrop rollback"
    assert back_to({**WAITS, "previous": None}).startswith("nothing in force")
