# SPDX-License-Identifier: Apache-2.0
"""VLAN and priority tags: eight are walked; a frame with more is dropped, whatever its source, and counted."""

from __future__ import annotations

import itertools
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.api import Total
from geodrop.linux import libbpf
from tests.conformance.frames import encode
from tests.kernel.xdp.judging import DROP, PASS, framed
from tests.kernel.xdp.states import another_version
from tests.oracle.packet import Packet
from tests.support.engines import XdpEngine
from tests.support.namespaces import ETH_P_8021AD, ETH_P_8021Q
from tests.support.worlds import HEAD, compiled

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import End

pytestmark = pytest.mark.root

SERVICE = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
DENIED, ALLOWED = ("1.1.1.1", "2400::1"), ("2.2.2.2", "2600::1")
MOST = 8
ETHERNET = 14


def tagged(source: str, count: int, kinds: tuple[int, ...] = (ETH_P_8021Q,)) -> bytes:
    """Return a packet to the service behind this many tags."""
    tags = [(kind, number) for number, kind in zip(range(count), itertools.cycle(kinds), strict=False)]
    return framed(encode(Packet(source), 1), tags)


def verdict(pins: Pins, frame: bytes) -> int:
    """Return the verdict of the program in force."""
    program = libbpf.get(str(pins.sets()[0] / "geodrop"))
    try:
        return libbpf.run_program(program, frame)[0]
    finally:
        os.close(program)


def unreadable(engine: XdpEngine) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return packets and bytes that were dropped, and those that would have been."""
    [count] = [count for count in engine.counters() if not count.service]
    assert count == Total("", "", None, dropped=count.dropped, would_drop=count.would_drop)
    return count.dropped, count.would_drop


@pytest.mark.parametrize("kinds", [(ETH_P_8021Q,), (ETH_P_8021AD,), (ETH_P_8021AD, ETH_P_8021Q)])
def test_eight_tags_are_walked_and_no_more(
    ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins, kinds: tuple[int, ...]
) -> None:
    """Behind more tags neither source nor service can be read, so allowed clients are no exception."""
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        dropped = 0
        for count, source in itertools.product(range(MOST + 5), DENIED + ALLOWED):
            frame = tagged(source, count, kinds)
            deep = count > MOST
            assert verdict(pins, frame) == (DROP if deep or source in DENIED else PASS), (count, source)
            dropped += deep * (len(frame) - ETHERNET)
        assert unreadable(engine) == ((4 * 4, dropped), (0, 0))
        engine.remove()


def test_a_frame_that_ends_within_its_tags_is_left_to_the_stack(
    ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins
) -> None:
    """Linux does not accept such a frame, and it shows nothing but its length."""
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        for tags, rest in itertools.product(range(1, MOST), range(4)):
            assert verdict(pins, tagged("1.1.1.1", MOST)[: ETHERNET + 4 * tags - rest]) == PASS
        assert unreadable(engine) == ((0, 0), (0, 0))
        engine.remove()


@pytest.mark.parametrize("what", ["monitor", "later", "paused"])
def test_only_while_a_service_drops_packets(
    ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins, tmp_path: Path, what: str
) -> None:
    """If no service drops packets now, such a frame passes and counts as would_drop."""
    words = {"monitor": "    mode: monitor\n", "later": "    starts: 2099-01-01T00:00:00Z\n", "paused": ""}
    ruleset = compiled(SERVICE + words[what], tmp_path)
    frame = tagged("1.1.1.1", MOST + 1)
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(ruleset.paused(int(time.time()) + 100_000) if what == "paused" else ruleset, 1, ["eth0"])
        assert verdict(pins, frame) == PASS
        assert unreadable(engine) == ((0, 0), (1, len(frame) - ETHERNET))
        engine.apply(rulesets[0], 2, ["eth0"])
        assert verdict(pins, frame) == DROP
        assert unreadable(engine) == ((1, len(frame) - ETHERNET), (1, len(frame) - ETHERNET))
        engine.remove()


def test_from_the_moment_on_that_a_service_starts(ends: tuple[End, End], pins: Pins, tmp_path: Path) -> None:
    """The kernel's clock decides, also beside a service in monitor."""
    starts = int(time.time()) + 2
    stamp = datetime.fromtimestamp(starts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    trial = SERVICE.removeprefix("version: 1\nservices:\n").replace("api", "trial") + "    mode: monitor\n"
    ruleset = compiled(f"{SERVICE}    starts: {stamp}\n{trial}", tmp_path)
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(ruleset, 1, ["eth0"])
        while time.time() < starts + 0.1:
            time.sleep(0.05)
        assert verdict(pins, tagged("2.2.2.2", MOST + 1)) == DROP
        engine.remove()


def test_the_count_only_grows(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins, tmp_path: Path) -> None:
    """The count continues through other policies, another program and a retirement, like every other counter."""
    frame = tagged("2.2.2.2", MOST + 1)
    size = len(frame) - ETHERNET
    with ends[1].namespace.entered():
        engines = [XdpEngine(pins=pins), XdpEngine(another_version(tmp_path), pins=pins)]
        for number, (engine, ruleset) in enumerate(itertools.product(engines, rulesets), start=1):
            engine.apply(ruleset, number, ["eth0"])
            assert unreadable(engine)[0] == (number - 1, (number - 1) * size)
            assert verdict(pins, frame) == DROP
        assert engines[1].retire()
        assert unreadable(engines[1]) == ((4, 4 * size), (0, 0))
        engines[1].remove()
        assert engines[1].counters() == []
