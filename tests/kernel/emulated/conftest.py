# SPDX-License-Identifier: Apache-2.0
"""A judged host in an emulated machine, with pins of its own; every test here needs such a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane.both import BothEngines
from geodrop.nftables.engine import NftablesEngine
from tests.support.bpffs import own_pins
from tests.support.emulated import Host
from tests.support.engines import XdpEngine
from tests.support.namespaces import namespaces
from tests.support.worlds import POLICY_CN, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.ruleset.model import Ruleset


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip everything here outside the emulated machine."""
    for item in items:
        if "/tests/kernel/emulated/" in str(item.path):
            item.add_marker(pytest.mark.emulated)


@pytest.fixture(scope="session")
def ruleset(tmp_path_factory: pytest.TempPathFactory) -> Ruleset:
    """A policy that drops CN."""
    return compiled(POLICY_CN, tmp_path_factory.mktemp("world"))


@pytest.fixture
def host(ruleset: Ruleset) -> Iterator[Host]:
    """A host with nothing loaded; the test body runs inside its namespace."""
    with namespaces("far", "host") as [far, netns], own_pins() as pins, netns.entered():
        made = Host(far, netns, BothEngines(NftablesEngine(), XdpEngine(pins=pins)), ruleset)
        yield made
        made.engines.remove()
