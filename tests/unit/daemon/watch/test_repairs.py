# SPDX-License-Identifier: Apache-2.0
from geodrop.daemon.watch.repairs import KEPT, LOUD, MINUTE, Repair, Repairs


def repair(number: int = 0) -> Repair:
    """Return the repair of a change by process `number`."""
    return Repair(1_700_000_000.0, f"nft (process {number})", "table inet geodrop: expected it", number, 0.05)


def test_a_repair_as_json() -> None:
    """The time is text, the seconds are rounded to milliseconds."""
    assert repair(7).as_object() == {
        "time": "2023-11-14T22:13:20Z",
        "culprit": "nft (process 7)",
        "what": "table inet geodrop: expected it",
        "generation": 7,
        "seconds": 0.05,
    }


def test_a_few_are_said_each() -> None:
    """Up to LOUD repairs in a minute are reported one by one, minute after minute."""
    repairs = Repairs()
    for minute in range(3):
        assert [repairs.add(repair(), minute * MINUTE + number) for number in range(LOUD - 1)] == [0] * (LOUD - 1)
        assert repairs.problems(minute * MINUTE + LOUD) == []


def test_a_fight_is_said_once_a_while() -> None:
    """In a fight all repairs are counted and the last few kept; the next one reported says how many were not."""
    repairs = Repairs()
    said = [repairs.add(repair(number), number) for number in range(50)]
    assert said == [0] * LOUD + [None] * (50 - LOUD)
    assert repairs.total == 50
    assert [one.generation for one in repairs.last] == list(range(50 - KEPT, 50))
    assert repairs.problems(50.0) == ["nft (process 49) keeps undoing what is in force: 50 repairs in a minute"]
    assert not repairs.are_few(50.0)
    assert repairs.are_few(49 + MINUTE)
    assert repairs.problems(49 + MINUTE) == []
    assert repairs.add(repair(), 49 + MINUTE) == 50 - LOUD
