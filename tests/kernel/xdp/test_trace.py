"""Packets run through the attached program: none is counted, and a foreign program is noticed."""

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
from tests.support.engines import XdpEngine
from tests.support.worlds import compiled
from tests.unit.engine.test_probes import SERVICES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from geodrop.engine.api import Total
    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import End

pytestmark = pytest.mark.root

RETURN_PASS = bytes.fromhex("b7000000020000009500000000000000")
"""r0 = XDP_PASS; exit."""


@pytest.fixture
def engine(ends: tuple[End, End], pins: Pins) -> Iterator[XdpEngine]:
    """A host in the judged namespace."""
    with ends[1].namespace.entered():
        made = XdpEngine(pins=pins)
        yield made
        made.remove()


@pytest.fixture
def rules(engine: XdpEngine, tmp_path: Path) -> Ruleset:
    """A policy with every kind of service, in force."""
    made = compiled(SERVICES, tmp_path)
    engine.apply(made, 1, ["eth0"])
    return made


def verdicts(engine: XdpEngine, rules: Ruleset) -> tuple[list[str], list[str]]:
    """Return the expected and the actual verdicts of packets."""
    chosen = probes(rules, time.time())
    return [one.expected for one in chosen], engine.trace(chosen)["eth0"]


def test_as_the_ruleset_says_and_counted_nowhere(
    engine: XdpEngine, rules: Ruleset, pins: Pins, ends: tuple[End, End]
) -> None:
    """Trace packets of each service. The mark keeps them uncounted: the same frame without it is counted."""
    # The other end's own stack sends a packet now and then, to join multicast groups.
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
    """A foreign program gives no verdict and is not run: it may have side effects."""
    theirs = libbpf.load_program("theirs", RETURN_PASS, flags=0, log=[])
    links.move(pins, pins.link_indexes()[0], theirs)
    expected, found = verdicts(engine, rules)
    assert "drop" in expected
    assert set(found) == {"unknown"}
    assert any("program" in one.found for one in engine.verify(rules))
    os.close(theirs)


def test_a_link_that_was_detached(engine: XdpEngine, rules: Ruleset, pins: Pins) -> None:
    """Without an attached program no interface is judged."""
    fd = libbpf.get(str(pins.links / str(pins.link_indexes()[0])))
    libbpf.detach_link(fd)
    os.close(fd)
    assert engine.trace(probes(rules, time.time())) == {}


def test_a_program_with_another_layout_is_left_out(
    engine: XdpEngine, rules: Ruleset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program with another layout would count the packets, so it is not run."""
    monkeypatch.setattr("geodrop.xdp.engine.LAYOUT", "ff")
    assert engine.trace(probes(rules, time.time())) == {}
