# SPDX-License-Identifier: Apache-2.0
"""After a change, what counts as `other` is split by region; a failure of this does not fail the change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.errors import ApplyError
from geodrop.operations.load import load
from geodrop.operations.regions import count_regions, warnings_of_regions
from geodrop.ruleset.model import Ruleset
from geodrop.state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.config import Config
    from tests.unit.operations.conftest import Kernel


def test_a_load_does_it_in_the_same_command(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """The ruleset in force is used; a second call has nothing to do."""
    loaded = load(str(ruleset), config, "auto", ["eth0"])
    assert kernel.told_apart == [Ruleset.open(ruleset).digest]
    assert kernel.under_way == ["regions"]
    assert loaded.warnings == ()
    assert not count_regions(config)


def test_where_nothing_is_in_force_or_its_ruleset_is_gone(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """There is nothing to do; `status` says what is wrong."""
    assert not count_regions(config)
    load(str(ruleset), config, "auto", ["eth0"])
    Store(config.state).ruleset_path(kernel.now.digest).unlink()
    assert not count_regions(config)
    assert len(kernel.told_apart) == 1


def test_a_failure_is_a_warning(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """The command has done its work, so a failure is only a warning."""
    load(str(ruleset), config, "auto", ["eth0"])
    kernel.failure = ApplyError("no room")
    assert warnings_of_regions(config) == ("the counters of nftables could not be split by region: no room",)
