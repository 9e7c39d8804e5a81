# SPDX-License-Identifier: Apache-2.0
"""Packets run through the attached program: nothing is counted, and a foreign program shows."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.probes import probes
from geodrop.linux import libbpf
from geodrop.xdp import layout as lay
from geodrop.xdp import links
from tests.kernel.xdp.test_clock import FRAME
from tests.support.worlds import compiled
from tests.unit.engine.test_probes import SERVICES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geodrop.engine.api import Total
    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.support.engines import XdpEngine
    from tests.support.namespaces import End

pytestmark = pytest.mark.root

RETURN_PASS = bytes.fromhex("b7000000020000009500000000000000")
"""r0 = XDP_PASS; exit."""


@pytest.fixture
def rules(engine: XdpEngine, tmp_path: Path) -> Ruleset:
    """Load every kind of service."""
    made = compiled(SERVICES, tmp_path)
    engine.apply(made, 1, ["eth0"])
    return made


def verdicts(engine: XdpEngine, rules: Ruleset) -> tuple[list[str], list[str]]:
    """Return the expected verdicts of packets, and the traced ones."""
    chosen = probes(rules, time.time())
    return [one.expected for one in chosen], engine.trace(chosen)["eth0"]


def test_as_the_ruleset_says_and_counted_nowhere(
    engine: XdpEngine, rules: Ruleset, pins: Pins, ends: tuple[End, End]
) -> None:
    """All services agree. A frame without our mark, run in the same way, is counted; so the mark prevents counting."""
    # The other end's stack sends packets by itself now and then, to join multicast groups.
    ends[0].namespace.run("ip", "link", "set", "eth0", "down")
    before = engine.counters()
    for _ in range(10):
        expected, found = verdicts(engine, rules)
        assert found == expected
        assert {"accept", "drop"} == set(expected)
    assert engine.counters() == before
    program = libbpf.get(str(pins.sets()[0] / "geodrop"))
    for metadata in (b"", b"\0\0\0\0", bytes(reversed(lay.PROBE_MARK.to_bytes(4, "little")))):
        libbpf.run_with_metadata(program, metadata, FRAME)
    os.close(program)
    assert _packets(engine.counters()) == _packets(before) + 3


def _packets(counters: Sequence[Total]) -> int:
    return sum(one.never_drop[0] + one.accepted[0] + one.dropped[0] for one in counters)


def test_a_program_in_our_link_that_is_not_ours(engine: XdpEngine, rules: Ruleset, pins: Pins) -> None:
    """Its verdict is "unknown" and it is not run: only its owner knows what else it does."""
    theirs = libbpf.load_program("theirs", RETURN_PASS, flags=0, log=[])
    links.move(pins, pins.link_indexes()[0], theirs)
    expected, found = verdicts(engine, rules)
    assert "drop" in expected
    assert set(found) == {"unknown"}
    assert any("program" in one.found for one in engine.verify(rules))
    os.close(theirs)


def test_a_link_that_was_detached(engine: XdpEngine, rules: Ruleset, pins: Pins) -> None:
    """No interface is left on which packets are judged."""
    fd = libbpf.get(str(pins.links / str(pins.link_indexes()[0])))
    libbpf.detach_link(fd)
    os.close(fd)
    assert engine.trace(probes(rules, time.time())) == {}


def test_a_program_with_another_layout_is_left_out(
    engine: XdpEngine, rules: Ruleset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would count the packets, so it is not run."""
    monkeypatch.setattr("geodrop.xdp.engine.LAYOUT", "ff")
    assert engine.trace(probes(rules, time.time())) == {}
