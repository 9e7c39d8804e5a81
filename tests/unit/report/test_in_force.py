# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.errors import DataError, NotEnforcingError
from geodrop.report import in_force as module
from geodrop.report.in_force import Then, in_force_then, read_timeline
from geodrop.report.pieces import whole
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import DONE, Entry
from geodrop.state.store import Store
from tests.unit.ruleset.test_model import pack

DIGEST = Ruleset.unpack(pack(), "test").digest
ENTRIES = [
    Entry(100.0, "load", DONE, 0, 1, DIGEST),
    Entry(200.0, "pause", DONE, 0, 2, DIGEST, paused=500, previous_generation=1),
    Entry(300.0, "unload", DONE, 0, previous_generation=2),
    Entry(400.0, "load", DONE, 0, 3, "b" * 64),
    Entry(500.0, "repair", DONE, 0, 4, "b" * 64, since=490.0, previous_generation=3),
    Entry(560.0, "boot", DONE, 0, 5, "b" * 64, since=550.0),
    Entry(570.0, "repair", DONE, 0, 6, "b" * 64),
    Entry(600.0, "reload", DONE, 0, 7, "c" * 64, previous_generation=6),
]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration with that history, and one of its rulesets kept."""
    store = Store(tmp_path / "state")
    for entry in ENTRIES:
        store.history.append(entry)
    store.keep_bytes(pack(), DIGEST)
    return Config(state=tmp_path / "state")


def then(config: Config, at: float) -> Then:
    """Return what was in force at a time."""
    return whole(in_force_then(config, at, 1_000))


def test_what_was_in_force(config: Config) -> None:
    """The generation of that time with its ruleset, and the pause of that time."""
    first, paused = then(config, 150), then(config, 250)
    assert first.as_json() == {
        "generation": 1,
        "digest": DIGEST,
        "from": "1970-01-01T00:01:40Z",
        "until": "1970-01-01T00:03:20Z",
    }
    assert [one.ruleset and one.ruleset.meta.services[0].starts for one in (first, paused)] == [None, 500]


def test_what_still_is_in_force(config: Config) -> None:
    """It is named, and read from the kernel as it would be without a time."""
    found = then(config, 700)
    assert (found.stretch.generation, found.ruleset, found.as_json()["until"]) == (7, None, None)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (
            350,
            (
                "nothing was in force at 1970-01-01T00:05:50Z: every packet passed, from 1970-01-01T00:05:00Z until "
                "1970-01-01T00:06:40Z (unload)"
            ),
        ),
        (
            495,
            (
                "another program had changed geodrop's tables in the kernel at 1970-01-01T00:08:15Z, from "
                "1970-01-01T00:08:10Z until 1970-01-01T00:08:20Z: which packets passed is not known"
            ),
        ),
        (
            555,
            (
                "nothing was in force at 1970-01-01T00:09:15Z: every packet passed, from 1970-01-01T00:09:10Z until "
                "1970-01-01T00:09:20Z (nothing loaded)"
            ),
        ),
        (
            565,
            (
                "whether anything was in force at 1970-01-01T00:09:25Z is not known: the kernel was found empty, from "
                "1970-01-01T00:09:20Z until 1970-01-01T00:09:30Z"
            ),
        ),
    ],
    ids=["unload", "drift", "reboot", "found empty"],
)
def test_nothing_in_force(config: Config, at: float, said: str) -> None:
    """It is said, with the time and what ended it (3)."""
    with pytest.raises(NotEnforcingError) as failure:
        then(config, at)
    assert failure.value.message == said


def test_what_cannot_be_told(config: Config, tmp_path: Path) -> None:
    """A time before the history, or a ruleset that is not kept, is bad data (65) with the next step."""
    with pytest.raises(DataError, match="the history begins at 1970-01-01T00:01:40Z"):
        then(config, 50)
    with pytest.raises(DataError, match=r"generation 3 was in force at .* bbbbbbbbbbbb is not in") as failure:
        then(config, 450)
    assert "`keep` in agent.yaml" in failure.value.next_step
    with pytest.raises(DataError, match="the history is empty"):
        then(Config(state=tmp_path / "other"), 50)


def test_in_pieces(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long history is read piece by piece."""
    monkeypatch.setattr(module, "LINES", 2)
    reading = read_timeline(config)
    assert [next(reading), next(reading)] == [None, None]
    assert list(whole(reading).until(1_000))[-1].generation == ENTRIES[-1].generation
