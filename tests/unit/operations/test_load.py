# SPDX-License-Identifier: Apache-2.0
import os
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.engine.api import Difference, Interface, Observed
from geodrop.errors import ApplyError, ConfigError, DataError, PrivilegeError
from geodrop.operations import load as module
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import DONE, FAILED
from geodrop.state.intent import Intent
from geodrop.state.store import Store
from tests.unit.operations.conftest import Kernel

INTENT = Intent(1, interfaces=("eth0",), engine="auto")
"""The intent that one load leaves behind, without its ruleset."""


def test_load_keeps_the_ruleset_and_the_intent(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """What is in force is found again by the digest that the kernel carries."""
    loaded = module.load(str(ruleset), config, "auto", ["eth0"])
    assert (loaded.before.generation, loaded.after.generation) == (0, 1)
    assert Store(config.state).intent() == replace(INTENT, digest=kernel.now.digest, last_good=kernel.now.digest)
    kept = module.loaded_ruleset(config, kernel.now)
    assert kept is not None
    assert kept.digest == kernel.now.digest


def test_failed_load_spends_the_number_and_nothing_else(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """After a failure the old digest is still the intended one, and the failed number is never used again."""
    kernel.failure = ApplyError("no")
    with pytest.raises(ApplyError):
        module.load(str(ruleset), config, "auto", ["eth0"])
    assert Store(config.state).intent() == Intent(1, "", begun=1)
    kernel.failure = None
    assert module.load(str(ruleset), config, "auto", ["eth0"]).after.generation == 2


def test_number_grows_past_what_the_kernel_has(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """Losing the state directory does not make numbers repeat."""
    kernel.now = Observed(41, "other", (Interface("eth0", "fake"),))
    assert module.load(str(ruleset), config, "auto", ["eth0"]).after.generation == 42


def test_same_ruleset_is_loaded_again_only_where_the_kernel_differs(
    kernel: Kernel, ruleset: Path, config: Config
) -> None:
    """Loading what is in force already does nothing, unless it was damaged."""
    module.load(str(ruleset), config, "auto", ["eth0"])
    assert module.load(str(ruleset), config, "auto", ["eth0"]).report is None
    kernel.differences = [Difference("chain g1", "3 rules", "2 rules")]
    assert module.load(str(ruleset), config, "auto", ["eth0"]).after.generation == 2


def test_unload_is_remembered_and_load_forgets_it(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """`unload` stays in the intent until the next load; the generation number stays too."""
    module.load(str(ruleset), config, "auto", ["eth0"])
    assert module.unload(config).removed
    digest = Ruleset.open(ruleset).digest
    assert Store(config.state).intent() == replace(INTENT, digest=digest, unloaded=True, last_good=digest)
    assert not module.unload(config).removed
    module.load(str(ruleset), config, "auto", ["eth0"])
    assert not Store(config.state).intent().unloaded
    assert kernel.now.generation == 2


def test_nothing_is_touched_for_bad_arguments(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """A bad file or no interface is found before anything is written, except that it was tried."""
    with pytest.raises(ConfigError, match="no interface"):
        module.load(str(ruleset), config, "auto", [])
    ruleset.write_bytes(b"nonsense")
    with pytest.raises(DataError):
        module.load(str(ruleset), config, "auto", ["eth0"])
    assert kernel.now == Observed()
    assert [path.name for path in config.state.iterdir()] == ["history.jsonl"]


def test_every_change_and_failure_is_in_the_history(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """Each entry says who asked for the change; a request that changed nothing has no entry."""
    for _ in range(2):
        module.load(str(rulesets[0]), config, "auto", ["eth0"])
    kernel.failure = ApplyError("the kernel refused")
    with pytest.raises(ApplyError):
        module.load(str(rulesets[1]), config, "auto", ["eth0"])
    module.unload(config)
    module.unload(config)
    entries = Store(config.state).history.entries()
    assert [(one.origin, one.outcome, one.generation) for one in entries] == [
        ("load", DONE, 1),
        ("load", FAILED, 2),
        ("unload", DONE, 0),
    ]
    assert {one.uid for one in entries} == {os.getuid()}
    assert [one.digest for one in entries] == [*(Ruleset.open(path).digest for path in rulesets[:2]), ""]
    assert entries[1].error == "the kernel refused"


@pytest.mark.parametrize("part", [True, False])
def test_an_unload_that_fails(
    kernel: Kernel, ruleset: Path, config: Config, monkeypatch: pytest.MonkeyPatch, *, part: bool
) -> None:
    """It raises. If a part was removed, that is remembered, and no repair brings it back; else nothing has changed."""
    module.load(str(ruleset), config, "auto", ["eth0", "eth1"])
    interfaces = kernel.now.interfaces

    def remove() -> bool:
        kernel.now = replace(kernel.now, interfaces=interfaces[:1] if part else interfaces)
        raise PrivilegeError("xdp goes on judging")

    monkeypatch.setattr(kernel, "remove", remove)
    with pytest.raises(PrivilegeError):
        module.unload(config)
    assert Store(config.state).intent().unloaded == part
    assert Store(config.state).history.entries()[-1].outcome == FAILED
