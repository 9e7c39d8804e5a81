# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the XDP engine's tests: the two policies of tests/support/worlds.py, hosts, a bpffs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.kernel.xdp import judging as frames
from tests.kernel.xdp.probe import Probe
from tests.kernel.xdp.states import Bench
from tests.support.bpffs import own_pins
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces, require
from tests.support.worlds import POLICY_CN, POLICY_US, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins


@pytest.fixture
def rulesets(tmp_path: Path) -> list[Ruleset]:
    """Return the rulesets of the two policies."""
    return [compiled(policy, tmp_path) for policy in (POLICY_CN, POLICY_US)]


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[frames.Judging]:
    """Yield a program with every kind of service in force, and the oracle."""
    require()
    with frames.judging(tmp_path_factory.mktemp("judging")) as both:
        yield both


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """Yield a sender and a judged host, joined by a wire."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        pair = End(sender, "eth0"), End(host, "eth0")
        join(*pair)
        yield pair


@pytest.fixture
def engine(ends: tuple[End, End], pins: Pins) -> Iterator[XdpEngine]:
    """Yield an engine in the judged host's namespace."""
    with ends[1].namespace.entered():
        made = XdpEngine(pins=pins)
        yield made
        made.remove()


@pytest.fixture
def three_pairs() -> Iterator[list[tuple[End, End]]]:
    """Yield a sender and a judged host, joined by three wires: eth0, eth1, eth2."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        pairs = [(End(sender, f"eth{number}"), End(host, f"eth{number}")) for number in range(3)]
        for pair in pairs:
            join(*pair)
        yield pairs


@pytest.fixture
def pins() -> Iterator[Pins]:
    """Yield pins in a bpffs of the test's own."""
    with own_pins() as made:
        yield made


@pytest.fixture
def bench(three_pairs: list[tuple[End, End]], pins: Pins, rulesets: list[Ruleset], tmp_path: Path) -> Iterator[Bench]:
    """Yield a bench in the judged host's namespace."""
    with contextlib.ExitStack() as stack:
        probes = {pair[1].name: stack.enter_context(Probe(*pair)) for pair in three_pairs}
        stack.enter_context(three_pairs[0][1].namespace.entered())
        bench = Bench(pins, probes, rulesets, tmp_path)
        yield bench
        bench.engine().remove()
