# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
from dataclasses import asdict, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import ApplyError
from geodrop.state import files
from geodrop.state.asker import MAX_NAME
from geodrop.state.exemptions import MOST, SECOND, ClockReading, Exemption, Exemptions, held_back, standing
from geodrop.state.names import MAX_WHY
from geodrop.state.store import Store
from geodrop.state.unwritten import MAX_LINES, Unwritten

if TYPE_CHECKING:
    from pathlib import Path

NOW = ClockReading(wall=1_000_000.0, monotonic=500 * SECOND, boot="one")
ONE = Exemption("1.2.3.4/32", 1_000_000, 1_000_600, "one", 1_100 * SECOND, "alice", "CASE-7")


def later(seconds: float, **changed: object) -> ClockReading:
    """Return all clocks some seconds later, with one of them changed."""
    at = ClockReading(NOW.wall + seconds, NOW.monotonic + round(seconds * SECOND), NOW.boot)
    return replace(at, **changed)  # type: ignore[arg-type]


def test_within_a_boot_only_the_monotonic_clock_counts() -> None:
    """Whatever the time of day is set to, it lasts as long as it was asked for, and its end is told in the new time."""
    assert ONE.left(NOW) == 600
    assert ONE.until(later(100)) == ONE.expires
    for wall in (0.0, 5_000_000.0):
        at = later(100, wall=wall)
        assert ONE.left(at) == 500
        assert ONE.until(at) == wall + 500
        assert held_back([ONE], at) == []
    assert ONE.left(later(700)) == 0


def test_after_another_boot_the_time_of_day_counts() -> None:
    """The rest of the time is measured by this boot's clock from then on."""
    at = ClockReading(NOW.wall + 100, 7 * SECOND, "two")
    assert ONE.left(at) == 500
    [anchored] = standing([ONE], at)
    assert (anchored.boot, anchored.deadline) == ("two", 507 * SECOND)
    assert anchored.left(replace(at, wall=0.0)) == 500
    assert standing([ONE], replace(at, wall=NOW.wall + 700)) == ()


def test_a_slow_clock_that_is_set_right_does_not_make_it_longer() -> None:
    """A boot with the time of the shutdown: once the clock is right, the end in UTC counts too, and stays that end."""
    slow = ClockReading(NOW.wall + 60, 7 * SECOND, "two")
    [anchored] = standing([ONE], slow)
    assert anchored.left(slow) == 540
    right = ClockReading(NOW.wall + 500, 20 * SECOND, "two")
    [sooner] = standing([anchored], right)
    assert (sooner.left(right), sooner.deadline) == (100, 120 * SECOND)
    assert sooner.until(right) == ONE.expires
    assert sooner.left(replace(right, wall=NOW.wall)) == 100, "setting it back again does not make it longer"
    assert standing([anchored], replace(right, wall=NOW.wall + 7 * 86_400)) == ()
    drifted = ClockReading(slow.wall + 101, slow.monotonic + 100 * SECOND, "two")
    assert standing([anchored], drifted) == (anchored,), "clocks that drift apart by a second do not move it"


def test_a_clock_earlier_than_its_creation_holds_it_back() -> None:
    """It is kept, neither in force nor over, until the clock is right; the text says what the clock says."""
    at = ClockReading(NOW.wall - 10_000, 7 * SECOND, "two")
    assert ONE.left(at) is None
    assert standing([ONE], at) == (ONE,)
    [said] = held_back([ONE], at)
    assert said == (
        "1.2.3.4/32: the exemption is held back, because the clock (1970-01-12T11:00:00Z) is earlier than "
        "1970-01-12T13:46:40Z, when it was made; next: set the clock"
    )
    assert "and 1 more" in held_back([ONE, ONE], at)[0]
    assert ONE.network == ip_network("1.2.3.4/32")


def test_written_and_read(tmp_path: Path) -> None:
    """Nothing is lost; a file that is not there holds nobody."""
    kept = Exemptions(tmp_path)
    assert kept.read() == ()
    kept.note([ONE, replace(ONE, source="2400::/32", why="", user="")])
    assert kept.read() == (ONE, replace(ONE, source="2400::/32", why="", user=""))
    assert kept.problems(NOW) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xff",
        b'{"exemptions": 5}',
        json.dumps(
            {"exemptions": [{"source": "1.2.3.4/33", "created": 1, "expires": 2, "boot": "x", "deadline": 3}]}
        ).encode(),
        json.dumps(
            {"exemptions": [{"source": "1.2.3.4", "created": 1, "expires": 1 << 60, "boot": "x", "deadline": 3}]}
        ).encode(),
    ],
    ids=["empty", "list", "binary", "number", "network", "time"],
)
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    """It counts as unknown, not as empty, and `status` says so."""
    (tmp_path / "exemptions.json").write_bytes(content)
    kept = Exemptions(tmp_path)
    assert kept.read() is None
    [said] = kept.problems(NOW)
    assert said.startswith(f"{tmp_path}/exemptions.json: cannot be read")
    assert said in Store(tmp_path).problems()


def test_a_full_disk_keeps_them_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the kernel is known in /run until it can be written, and `status` says so."""
    store = Store(tmp_path)

    def full(*_: object) -> None:
        raise ApplyError("no room") from OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(files, "replace", full)
    store.exemptions.note([ONE])
    assert Store(tmp_path).exemptions.read() == (ONE,)
    assert any("who is exempt will be known until the next boot" in line for line in store.problems())
    monkeypatch.undo()
    assert not (tmp_path / "exemptions.json").exists()
    store.write_back()
    assert (tmp_path / "exemptions.json").exists()
    assert store.unwritten() == ()
    assert store.exemptions.read() == (ONE,)
    assert files.BESIDE not in "".join(path.name for path in tmp_path.iterdir())


def test_the_clocks() -> None:
    """One reading has all of them, of this boot."""
    one, two = ClockReading.now(), ClockReading.now()
    assert (one.boot, one.monotonic < two.monotonic) == (two.boot, True)


def test_the_most_that_there_can_be(tmp_path: Path) -> None:
    """As many as there may be, each with the longest name and reason, are read again from where they are written: in
    the state directory, or in /run while the disk takes nothing.
    """
    widest = "\U0001f512"
    longest = replace(ONE, user=widest * MAX_NAME, why=widest * MAX_WHY)
    most = [replace(longest, source=f"2001:db8:{number:x}:ffff:ffff:ffff:ffff:ffff/128") for number in range(MOST)]
    store = Exemptions(tmp_path)
    store.note(most)
    assert store.read() == tuple(most)
    held = Unwritten(tmp_path)
    held.hold(ApplyError("the disk is full"), intent={"generation": 7}, line='"\\' * (MAX_LINES // 2))
    held.hold(ApplyError("the disk is full"), exemptions={"exemptions": [asdict(one) for one in most]})
    found = Unwritten(tmp_path).read()
    assert (found.intent, len(found.lines)) == ({"generation": 7}, 1)
    assert store.read() == tuple(most)
