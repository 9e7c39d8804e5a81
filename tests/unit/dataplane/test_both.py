# SPDX-License-Identifier: Apache-2.0
"""Which engines are used; what they do together is tested in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from geodrop.config import LOADERS
from geodrop.dataplane.both import BothEngines, make_xdp
from geodrop.errors import PrivilegeError, UnavailableError

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


class Removable:
    """What can be removed, or fails to be."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.removed, self._failure = False, failure

    def remove(self) -> bool:
        """Remove it, or fail."""
        if self._failure:
            raise self._failure
        self.removed = True
        return True


@pytest.mark.parametrize("failure", [UnavailableError("pins cannot be read"), PrivilegeError("no"), OSError("busy")])
def test_what_can_be_removed_is_removed_where_the_rest_fails(failure: Exception) -> None:
    """An `unload` that cannot remove the one engine removes the other, and says what failed."""
    for parts in ((True, False, False), (False, True, False), (False, False, True)):
        xdp, nftables, unread = (Removable(failure if broken else None) for broken in parts)
        both: Any = BothEngines(cast("Any", nftables), cast("Any", xdp), unread=cast("Any", unread))
        with pytest.raises(type(failure)):
            both.remove()
        assert [one.removed for one in (xdp, nftables, unread)] == [not broken for broken in parts]
