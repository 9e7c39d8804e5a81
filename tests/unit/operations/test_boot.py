# SPDX-License-Identifier: Apache-2.0
import os
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.engine.api import Observed
from geodrop.operations.boot import Booted, boot
from geodrop.operations.load import load, unload
from geodrop.operations.pause import pause
from geodrop.operations.rollback import roll_back
from geodrop.ruleset.first_boot import is_closed
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import DONE, FAILED, ChangeRequest
from geodrop.state.intent import FOREVER
from geodrop.state.store import Store
from tests.unit.operations.conftest import Kernel

NOW = 1_000_000.0


def reboot(kernel: Kernel, config: Config) -> Booted:
    """Forget everything in the kernel, and boot."""
    kernel.now, kernel.services = Observed(), ()
    return boot(config, ChangeRequest("boot", 0), NOW)


@pytest.fixture
def loaded(kernel: Kernel, rulesets: list[Path], config: Config) -> list[str]:
    """Load three policies, one after the other; return their digests."""
    del kernel
    for path in rulesets[:3]:
        load(str(path), config, "auto", ["eth0"])
    return [Ruleset.open(path).digest for path in rulesets[:3]]


def test_the_last_good_one(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """A boot puts the last good ruleset in force under a new number, waiting for interfaces, and records it."""
    booted = reboot(kernel, config)
    assert (booted.warnings, booted.alarm) == ((), False)
    assert (kernel.now.generation, kernel.now.digest) == (4, loaded[2])
    assert [interface.name for interface in kernel.now.interfaces] == ["*"]
    assert booted.text == f"generation 4: ruleset {loaded[2][:12]} in force on *"
    store = Store(config.state)
    assert (store.intent().generation, store.intent().digest) == (4, loaded[2])
    entry = store.history.entries()[-1]
    assert (entry.origin, entry.outcome, entry.generation, entry.time) == ("boot", DONE, 4, NOW)


def test_what_is_in_force_stays(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """The unit may be started again at any time: what is in force stays."""
    before = kernel.now
    assert "in force already" in boot(config, ChangeRequest("boot", 0), NOW).text
    assert kernel.now is before
    assert len(Store(config.state).history.entries()) == len(loaded)


def test_unload_is_honoured(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """A boot after `unload` loads nothing, and that is no alarm."""
    assert loaded
    unload(config)
    booted = reboot(kernel, config)
    assert (booted.text, booted.alarm) == ("unloaded on request; nothing to do", False)
    assert kernel.now == Observed()


def test_a_pause_and_a_rollback_survive(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """A boot after a rollback and a pause restores the older policy, still paused."""
    roll_back(config, ChangeRequest("rollback", 0))
    pause(config, ChangeRequest("pause", 0), FOREVER)
    reboot(kernel, config)
    assert kernel.now.digest == loaded[1]
    assert {service.starts for service in kernel.services} == {FOREVER}
    assert Store(config.state).intent().rolled_back


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_a_damaged_ruleset_is_made_up_for(kernel: Kernel, loaded: list[str], config: Config, damage: str) -> None:
    """A damaged ruleset is replaced by the newest one before it, with a warning; the last good one stays recorded."""
    path = Store(config.state).ruleset_path(loaded[2])
    match damage:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "other":
            path.write_bytes(Store(config.state).ruleset_path(loaded[0]).read_bytes())
    booted = reboot(kernel, config)
    assert kernel.now.digest == loaded[1]
    assert str(path) in booted.warnings[0]
    assert Store(config.state).intent().last_good == loaded[2]


def test_a_damaged_intent_is_made_up_for(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """With a damaged intent, the history tells the last good ruleset."""
    (config.state / "intent.json").write_bytes(b"\0")
    booted = reboot(kernel, config)
    assert (kernel.now.generation, kernel.now.digest) == (4, loaded[2])
    assert "the history is used" in booted.warnings[0]


def test_a_disk_that_cannot_be_written(
    kernel: Kernel, loaded: list[str], config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that cannot be written does not stop enforcement; it gives a warning."""

    def full(_: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "fsync", full)
    booted = reboot(kernel, config)
    assert kernel.now.digest == loaded[2]
    assert "not written down: " in booted.warnings[0]
    assert "Read-only file system" in booted.warnings[0]


def test_first_boot_open(kernel: Kernel, config: Config) -> None:
    """Nothing is in force: that is an alarm, also in the history."""
    booted = reboot(kernel, config)
    assert booted.alarm
    assert "first_boot: open" in booted.text
    assert kernel.now == Observed()
    entry = Store(config.state).history.entries()[-1]
    assert (entry.origin, entry.outcome) == ("boot", FAILED)
    assert entry.error == booted.text


def test_first_boot_closed(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """The closed ruleset is in force and kept, but neither the last good one nor a step of `rollback`."""
    closed = replace(config, first_boot="closed")
    booted = reboot(kernel, closed)
    assert not booted.alarm
    store = Store(config.state)
    assert is_closed(Ruleset.open(store.ruleset_path(kernel.now.digest)).meta.compiler)
    assert (store.intent().last_good, store.intent().digest) == ("", kernel.now.digest)
    assert reboot(kernel, config).alarm, "what was closed once is open if agent.yaml says so now"
    reboot(kernel, closed)
    for path in rulesets[:2]:
        load(str(path), closed, "auto", ["eth0"])
    roll_back(closed, ChangeRequest("rollback", 0))
    assert kernel.now.digest == Ruleset.open(rulesets[0]).digest
