# SPDX-License-Identifier: Apache-2.0
from geodrop.daemon.watch.drops import WINDOW, Drops


def test_the_last_minute() -> None:
    """The number covers the last minute; before a minute has passed, the time since the first reading."""
    drops = Drops()
    drops.note(1_000, 0)
    assert drops.as_object() is None
    drops.note(1_010, 5)
    assert drops.as_object() == {"packets": 10, "seconds": 5}
    for second in range(10, 200, 5):
        drops.note(1_000 + 2 * second, second)
    assert drops.as_object() == {"packets": 120, "seconds": WINDOW}


def test_a_late_reading_says_how_late() -> None:
    """A busy host reads late: then `seconds` is more than a minute, and no drop is left out."""
    drops = Drops()
    for second, total in ((0, 5), (50, 6), (130, 9)):
        drops.note(total, second)
    assert drops.as_object() == {"packets": 3, "seconds": 80}


def test_counters_that_begin_again() -> None:
    """The number of drops never becomes negative."""
    drops = Drops()
    for second, total in ((0, 500), (5, 510), (10, 3), (15, 4)):
        drops.note(total, second)
    assert drops.as_object() == {"packets": 1, "seconds": 5}
