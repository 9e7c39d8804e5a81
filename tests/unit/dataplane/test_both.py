"""Which engines are used; what they do together is tested in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.config import LOADERS
from geodrop.dataplane.both import BothEngines, make_xdp

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("loader", LOADERS)
def test_the_loader_is_the_one_that_was_asked_for(loader: str) -> None:
    """Every loader name that agent.yaml allows gives a loader."""
    assert make_xdp(loader).loader.name == loader


def test_xdp_is_left_out_until_it_is_there_or_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No verb imports an engine that this host does not use; `with_xdp` makes it, with the configured loader."""
    monkeypatch.setattr("geodrop.dataplane.both.default_pins", lambda: tmp_path / "geodrop")
    engines = BothEngines.here("bcc")
    assert BothEngines.here("bcc").xdp is None
    brought = engines.with_xdp()
    assert brought.loader.name == "bcc"
    assert brought is engines.xdp
    (tmp_path / "geodrop").mkdir()
    assert BothEngines.here().xdp is not None
