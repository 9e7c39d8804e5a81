# SPDX-License-Identifier: Apache-2.0
"""The line about links that move between engines."""

from __future__ import annotations

import pytest

from geodrop.dataplane import moves as module
from geodrop.dataplane.moves import moves
from geodrop.engine.api import Interface, Observed
from geodrop.errors import UnavailableError
from geodrop.linux.network import Link, Network

NFT, OTHER, GUARD = (Interface(name, "nftables") for name in ("eth0", "eth1", "eth*"))
NATIVE, GENERIC = Interface("eth0", "xdp", "native"), Interface("eth0", "xdp", "generic")
TO_COME = Interface("wan*", "nftables")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([NFT], [NFT], ""),
        ([NFT], [NATIVE], "eth0 from nftables to xdp (native)"),
        ([NATIVE], [GENERIC], "eth0 from xdp (native) to xdp (generic)"),
        ([NFT], [NFT, OTHER], "eth1 now judged by nftables"),
        ([NFT, OTHER], [NATIVE], "eth0 from nftables to xdp (native), eth1 no longer judged"),
        ([Interface("eth0", "nftables", why="busy")], [NFT], ""),
        # A pattern judges the links that match it, except those that xdp judges.
        ([NATIVE, GUARD], [GUARD], "eth0 from xdp (native) to nftables"),
        ([NATIVE, OTHER], [NATIVE, GUARD], ""),
        ([NFT], [NFT, TO_COME], "wan* now judged by nftables, once it is there"),
    ],
)
def test_each_move(monkeypatch: pytest.MonkeyPatch, before: list[Interface], after: list[Interface], said: str) -> None:
    """Arrivals, departures and changes of engine or attach mode are listed; another reason for the same place is no
    move.
    """
    there = Network((Link(1, "lo", hardware=772), Link(2, "eth0"), Link(3, "eth1")))
    monkeypatch.setattr(module, "read_network", lambda: there)
    assert moves(Observed(1, "", tuple(before)), Observed(1, "", tuple(after))) == said


def test_a_network_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is already made, so the error is ignored, and the line has only names."""

    def refuse() -> Network:
        raise UnavailableError("interfaces keep changing")

    monkeypatch.setattr(module, "read_network", refuse)
    assert moves(Observed(1, "", (NATIVE,)), Observed(1, "", (OTHER,))) == (
        "eth0 no longer judged, eth1 now judged by nftables, once it is there"
    )
