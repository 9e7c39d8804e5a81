# SPDX-License-Identifier: Apache-2.0
"""The wire bench, once for the whole suite, and the engines judged on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import maxminddb
import pytest

from geodrop.nftables.engine import NftablesEngine
from geodrop.xdp.bcc_loader import BccLoader
from tests.conformance.case import WORLD
from tests.conformance.exported import ExportedEngine
from tests.conformance.joined import JoinedEngine, JoinedExportedEngine, JoinedSavedEngine
from tests.conformance.overlay import OverlayEngine
from tests.conformance.saved import SavedEngine
from tests.conformance.wire import Wire, make_wire
from tests.support.bcc import require_bcc
from tests.support.bpffs import own_pins
from tests.support.databases import write_database
from tests.support.engines import XdpEngine
from tests.support.namespaces import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geodrop.xdp.pins import Pins
    from tests.oracle.ladder import Database
    from tests.support.engines import ApplyingEngine

ENGINES: dict[str, Callable[[Pins], ApplyingEngine]] = {
    "exported": lambda _: ExportedEngine(),
    "exported-joined": lambda _: JoinedExportedEngine(),
    "nftables": lambda _: NftablesEngine(),
    "nftables-joined": lambda _: JoinedEngine(),
    "nftables-joined-saved": lambda _: JoinedSavedEngine(),
    "nftables-saved": lambda _: SavedEngine(),
    "nftables-overlay": lambda _: OverlayEngine(),
    "xdp-bcc": lambda pins: XdpEngine(BccLoader(), pins=pins, attach=("native",)),
    "xdp-generic": lambda pins: XdpEngine(pins=pins, attach=("generic",)),
    "xdp-native": lambda pins: XdpEngine(pins=pins, attach=("native",)),
}
"""Every engine by name; the suite is the same for all of them."""

REJECTING = {"nftables", "exported"}
"""The engines that can reject, by `Engine.name`."""

ENDED_BY_A_DROP = {"nftables", "exported"}
"""Engines where the service that drops a packet ends its way: later services do not count it."""


@pytest.fixture(scope="package")
def wire() -> Iterator[Wire]:
    """Set up the bench of namespaces."""
    require()
    with make_wire() as made:
        yield made


@pytest.fixture(scope="package", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, wire: Wire) -> Iterator[ApplyingEngine]:
    """Put one engine after the other into the judged host; remove it afterwards."""
    if request.param == "xdp-bcc":
        require_bcc()
    with own_pins() as pins:
        chosen = ENGINES[request.param](pins)
        with wire.host.entered():
            chosen.probe()
        yield chosen
        with wire.host.entered():
            chosen.remove()


@pytest.fixture(scope="package")
def world_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the database of all cases, as a file."""
    return write_database(tmp_path_factory.mktemp("world") / "world.mmdb", WORLD)


@pytest.fixture(scope="package")
def world(world_file: Path) -> Database:
    """Return the same database, open in the pure-Python reader."""
    return maxminddb.open_database(world_file, maxminddb.MODE_MEMORY)
