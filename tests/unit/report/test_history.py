# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.report.history import by_a_daemon, last_failure, read_history
from geodrop.report.pieces import whole
from geodrop.state.chain import digest_of
from geodrop.state.entry import DONE, FAILED, Entry
from geodrop.state.intent import FOREVER
from geodrop.state.store import Store

ENTRIES = [
    Entry(100.0, "load", DONE, 0, 1, "a", seconds=0.25, inputs=({"kind": "policy", "sha256": "ab"},)),
    Entry(160.0, "reload", FAILED, 7, 2, "b", error="no room"),
    Entry(220.0, "pause", DONE, 7, 3, "a", why="incident", paused=FOREVER),
    Entry(280.0, "unload", DONE, 0),
    Entry(340.0, "rollback", DONE, 0, 4, "z", target=1, paused=400),
]


def config(tmp_path: Path, entries: list[Entry]) -> Config:
    """Return a configuration with that history."""
    for entry in entries:
        Store(tmp_path / "state").history.append(entry)
    return Config(state=tmp_path / "state")


def test_newest_first_each_with_its_end(tmp_path: Path) -> None:
    """What was in force ends when the next change comes or all is unloaded; a failed attempt ends nothing."""
    objects, _ = whole(read_history(config(tmp_path, ENTRIES)))
    assert [(one["origin"], one["until"]) for one in objects] == [
        ("rollback", None),
        ("unload", None),
        ("pause", "1970-01-01T00:04:40Z"),
        ("reload", None),
        ("load", "1970-01-01T00:03:40Z"),
    ]


def test_each_object_has_every_key(tmp_path: Path) -> None:
    """A key without a value is null, so that a reader need not check whether it exists."""
    objects, _ = whole(read_history(config(tmp_path, ENTRIES), 1))
    lines = (tmp_path / "state" / "history.jsonl").read_bytes().splitlines()
    assert objects == [
        {
            "schema": 1,
            "time": "1970-01-01T00:05:40Z",
            "until": None,
            "seconds": 0.0,
            "origin": "rollback",
            "outcome": "done",
            "generation": 4,
            "digest": "z",
            "uid": 0,
            "sudo_user": None,
            "change": None,
            "why": None,
            "error": None,
            "target": 1,
            "confirm": None,
            "paused_until": "1970-01-01T00:06:40Z",
            "inputs": [],
            "previous_generation": None,
            "previous_digest": None,
            "accept": None,
            "since": None,
            "drops": [],
            "signed_by": None,
            "signed_key": None,
            "compiled": None,
            "number": 5,
            "previous": digest_of(lines[-2]),
        }
    ]


def test_damage_is_told(tmp_path: Path) -> None:
    """Damage is reported together with the entries that can be read."""
    made = config(tmp_path, ENTRIES)
    with (made.state / "history.jsonl").open("ab") as file:
        file.write(b"\0\0\n")
    objects, problems = whole(read_history(made))
    assert len(objects) == len(ENTRIES)
    assert "1 line cannot be read" in problems[0]


def test_last_failure() -> None:
    """A failure is reported only until something succeeds again."""
    assert last_failure(ENTRIES[:2]) == ENTRIES[1]
    assert last_failure(ENTRIES[:3]) is None
    found = Entry(170.0, "drift", FAILED, 0), Entry(180.0, "prune", DONE, 0)
    assert last_failure([*ENTRIES[:2], *found]) == ENTRIES[1]
    assert last_failure([]) is None


@pytest.mark.parametrize(
    ("origins", "found"),
    [
        ([], False),
        (["load"], False),
        (["load", "reload"], True),
        (["reload", "repair", "boot", "pause", "rollback"], True),
        (["reload", "load", "boot"], False),
        (["load", "compact"], True),
    ],
)
def test_whether_a_daemon_looked_after_it(origins: list[str], found: bool) -> None:  # noqa: FBT001 - a case
    """A load by hand takes over; a boot, a pause, a rollback and a failure do not tell."""
    entries = [Entry(float(at), origin, DONE, 0, at + 1, "a") for at, origin in enumerate(origins)]
    assert by_a_daemon([*entries, Entry(9.0, "reload", FAILED, 0, 9, "b")]) is found
