# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.errors import NotEnforcingError
from geodrop.operations.load import load
from geodrop.operations.pause import pause, resume
from geodrop.state.entry import ChangeRequest
from geodrop.state.intent import FOREVER
from geodrop.state.store import Store
from tests.unit.operations.conftest import Kernel
from tests.unit.ruleset.test_model import META

PAUSE, RESUME = ChangeRequest("pause", 7, why="incident 42"), ChangeRequest("resume", 7)


def test_pause_and_resume(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """A pause puts off every start of the same ruleset, and resume undoes it; each is a generation and recorded."""
    load(str(ruleset), config, "auto", ["eth0"])
    assert pause(config, PAUSE, FOREVER).after.generation == 2
    assert {service.starts for service in kernel.services} == {FOREVER}
    intent = Store(config.state).intent()
    assert (intent.paused, intent.why, intent.digest) == (FOREVER, "incident 42", kernel.now.digest)
    assert pause(config, PAUSE, FOREVER).report is None
    assert resume(config, RESUME).after.generation == 3
    assert kernel.services == META.services
    intent = Store(config.state).intent()
    assert (intent.paused, intent.why) == (0, "")
    assert resume(config, RESUME).report is None
    entries = Store(config.state).history.entries()
    assert [(one.origin, one.generation, one.paused, one.uid) for one in entries[1:]] == [
        ("pause", 2, FOREVER, 7),
        ("resume", 3, 0, 7),
    ]


def test_a_pause_survives_a_load(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """A ruleset loaded during a pause is paused too."""
    load(str(rulesets[0]), config, "auto", ["eth0"])
    pause(config, PAUSE, FOREVER)
    load(str(rulesets[1]), config, "auto", ["eth0"])
    assert {service.starts for service in kernel.services} == {FOREVER}


def test_another_end(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """A second pause moves the end; changing only the reason makes no new generation."""
    load(str(ruleset), config, "auto", ["eth0"])
    pause(config, PAUSE, FOREVER)
    pause(config, PAUSE, FOREVER - 60)
    assert {service.starts for service in kernel.services} == {FOREVER - 60}
    assert pause(config, ChangeRequest("pause", 7, why="another"), FOREVER - 60).after.generation == 3
    assert Store(config.state).intent().why == "another"


def test_nothing_to_pause(kernel: Kernel, config: Config) -> None:
    """With nothing in force: 3. What is loaded later is not paused in advance."""
    del kernel
    with pytest.raises(NotEnforcingError):
        pause(config, PAUSE, FOREVER)
    assert Store(config.state).intent().paused == 0
