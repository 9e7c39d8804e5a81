# SPDX-License-Identifier: Apache-2.0
"""Starts and pauses on xdp follow the present clock: a policy loaded while the clock was wrong judges correctly later.

The machine's clock is never set; instead, the code that reads it gets another time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.linux import libbpf
from geodrop.xdp import encode
from geodrop.xdp import engine as engine_module
from geodrop.xdp.engine import present_clock
from tests.conformance.frames import encode as packet_bytes
from tests.kernel.xdp.judging import DROP, PASS, framed
from tests.oracle.packet import Packet
from tests.support.worlds import POLICY_CN, compiled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.support.engines import XdpEngine

pytestmark = pytest.mark.root

HOUR = 3600
FRAME = framed(packet_bytes(Packet(source="1.0.0.1", dest="192.0.2.1", dport=443), 1))


@pytest.fixture
def denied(tmp_path: Path) -> Ruleset:
    """Return a ruleset that drops CN."""
    return compiled(POLICY_CN, tmp_path)


def verdict(pins: Pins) -> int:
    """Return the program's verdict on a packet from CN now."""
    program = libbpf.get(str(pins.sets()[0] / "geodrop"))
    return libbpf.run_program(program, FRAME)[0]


def off_by(seconds: float) -> Callable[[], float]:
    """Return a clock that is wrong by this many seconds."""
    right = time.time
    return lambda: right() + seconds


@pytest.mark.parametrize("wrong", [30 * 24 * HOUR, -50 * 365 * 24 * HOUR], ids=["a month ahead", "at 1970 or so"])
def test_loaded_by_a_wrong_clock(
    engine: XdpEngine, pins: Pins, denied: Ruleset, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """A future start waits, a past one drops, and `verify` finds no difference once the clock is right."""
    now = int(time.time())
    for number, (until, expected) in enumerate([(now + 2 * HOUR, PASS), (now - 2 * HOUR, DROP)], start=1):
        view = denied.paused(until)
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", off_by(wrong))
            engine.apply(view, number, ["eth0"])
        assert verdict(pins) == expected
        assert engine.verify(view) == []


def test_another_offset_of_tai_is_a_difference(
    engine: XdpEngine, pins: Pins, denied: Ruleset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the kernel learns the TAI offset after a load, starts would come early by it; loading again corrects that."""
    start = int(time.time()) + 2 * HOUR
    view, offset = denied.paused(start), present_clock().tai_offset
    engine.apply(view, 1, ["eth0"])
    monkeypatch.setattr(engine_module, "present_clock", lambda: encode.Clock(offset + 37))
    [found] = engine.verify(view, full=False)
    assert (found.where, found.found) == ("policy map", f"{offset} s ahead")
    engine.apply(view, 2, ["eth0"])
    assert engine.verify(view) == []
    # A policy without a start does not depend on the offset.
    engine.apply(denied, 3, ["eth0"])
    monkeypatch.undo()
    assert engine.verify(denied) == []
    assert verdict(pins) == DROP


def test_where_programs_cannot_tell_the_time(
    engine: XdpEngine, pins: Pins, denied: Ruleset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A past start is left out there. If the clock is set back before it, that is a difference, and
    loading is refused.
    """
    view = denied.paused(int(time.time()) - 2 * HOUR)
    monkeypatch.setattr(libbpf, "has_tai_clock", lambda: False)
    engine.apply(view, 1, ["eth0"])
    assert (verdict(pins), engine.verify(view)) == (DROP, [])
    monkeypatch.setattr(time, "time", off_by(-3 * HOUR))
    assert [one.where for one in engine.verify(view)] == ["policy map"]
    with pytest.raises(UnavailableError, match="cannot tell the time"):
        engine.apply(view, 2, ["eth0"])
