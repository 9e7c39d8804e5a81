# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.errors import DataError
from geodrop.operations.change import by_me
from geodrop.operations.in_force import RulesetInForce, read_in_force
from geodrop.operations.load import apply_file
from geodrop.operations.pause import pause
from geodrop.ruleset.first_boot import build_closed
from geodrop.state.store import Store
from tests.unit.operations.conftest import Kernel


def load(path: Path, config: Config) -> None:
    """Load a ruleset as a command does."""
    apply_file(str(path), config, "fake", ["lo"], by_me("load"))


def test_what_is_loaded(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """The ruleset that the kernel names is returned with its generation, and until when it is paused."""
    del kernel
    assert read_in_force(config) == RulesetInForce()
    load(ruleset, config)
    found = read_in_force(config)
    assert found.ruleset is not None
    assert (found.generation, found.paused) == (1, 0)
    pause(config, by_me("pause"), 4_000_000_000)
    assert read_in_force(config).paused == 4_000_000_000


def test_a_first_boot_is_no_policy(kernel: Kernel, tmp_path: Path, config: Config) -> None:
    """What `first_boot: closed` loads is in force, and nothing that a policy could be compared with."""
    del kernel
    path = tmp_path / "closed.ruleset"
    path.write_bytes(build_closed())
    load(path, config)
    found = read_in_force(config)
    assert (found.generation, found.ruleset) == (1, None)


def test_a_ruleset_that_is_gone(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """If the kernel names a ruleset that is not kept, that is an error: nothing can be compared with it."""
    load(ruleset, config)
    Store(config.state).ruleset_path(kernel.now.digest).unlink()
    with pytest.raises(DataError, match="is not in"):
        read_in_force(config)
