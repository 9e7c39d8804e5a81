# SPDX-License-Identifier: Apache-2.0
"""An overlay is compacted once, into a whole generation of the same ruleset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.errors import DataError
from geodrop.operations.compact import compact
from geodrop.operations.load import load
from geodrop.state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.config import Config
    from tests.unit.operations.conftest import Kernel


def test_compact(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """The compacted generation has its own number and history entry; the intent keeps the rest."""
    load(str(ruleset), config, "auto", ["eth0"])
    before, intent = kernel.now, Store(config.state).intent()
    kernel.overlay = True
    observed = compact(config)
    assert observed == kernel.now
    assert (kernel.now.generation, kernel.now.digest) == (before.generation + 1, before.digest)
    assert kernel.kept is None
    last = Store(config.state).history.entries()[-1]
    assert (last.origin, last.generation, last.change) == ("compact", 2, "overlay compacted into whole maps")
    now = Store(config.state).intent()
    assert (now.digest, now.last_good, now.generation) == (intent.digest, intent.last_good, 2)


def test_nothing_to_compact(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """Without an overlay nothing is done and nothing is written."""
    load(str(ruleset), config, "auto", ["eth0"])
    before = kernel.now
    assert compact(config) is None
    assert kernel.now == before
    assert len(Store(config.state).history.entries()) == 1


def test_the_ruleset_is_gone(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """If the ruleset is gone, the overlay goes on judging."""
    load(str(ruleset), config, "auto", ["eth0"])
    before, kernel.overlay = kernel.now, True
    Store(config.state).ruleset_path(before.digest).unlink()
    with pytest.raises(DataError):
        compact(config)
    assert kernel.now == before
