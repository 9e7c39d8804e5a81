# SPDX-License-Identifier: Apache-2.0
"""The XDP engine in namespaces: interfaces that come and go, another program, changed bytes, foreign programs."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import ApplyError, UnavailableError
from geodrop.linux import libbpf
from geodrop.xdp import layout as lay
from geodrop.xdp.lookup import keys
from geodrop.xdp.program_set import ProgramSet
from tests.bench.generator import Generator
from tests.conformance.frames import encode
from tests.kernel.xdp.judging import PASS, framed
from tests.oracle.packet import Packet
from tests.support.bpffs import own_pins
from tests.support.engines import XdpEngine

if TYPE_CHECKING:
    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import End

pytestmark = pytest.mark.root


def counts(engine: XdpEngine) -> dict[tuple[str, str | None], tuple[int, int, int]]:
    """Return dropped, would_drop and accepted packets by family and label."""
    return {(one.family, one.label): (one.dropped[0], one.would_drop[0], one.accepted[0]) for one in engine.counters()}


def test_a_foreign_program_is_left_alone(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """A foreign program on the interface stays and is named, and nothing of ours is left."""
    with ends[1].namespace.entered():
        with own_pins() as others:
            theirs = XdpEngine(pins=others)
            theirs.apply(rulesets[0], 1, ["eth0"])
            ours = XdpEngine(pins=pins)
            with pytest.raises(UnavailableError, match="eth0 has an XDP program that is not geodrop's"):
                ours.apply(rulesets[1], 1, ["eth0"])
            assert ours.observe().generation == 0
            assert pins.sets() == []
            assert theirs.verify(rulesets[0]) == []
            theirs.remove()
        ours.apply(rulesets[1], 2, ["eth0"])
        assert ours.observe().interfaces[0].attach == "native"
        ours.remove()


def test_an_interface_that_went_and_came_back(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """Its link is gone with it, `observe` shows that, and the next load attaches again."""
    host = ends[1].namespace
    with host.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        host.run("ip", "link", "set", "eth0", "down")
        host.run("ip", "link", "set", "eth0", "name", "wan0")
        assert engine.observe().interfaces[0].name == "wan0"
        host.run("ip", "link", "delete", "wan0")
        assert engine.observe().interfaces == ()
        host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
        engine.apply(rulesets[0], 2, ["eth*"])
        assert [one.name for one in engine.observe().interfaces] == ["eth0"]
        assert len(pins.link_indexes()) == 1
        with pytest.raises(ApplyError, match="no interface matches wlan0"):
            engine.apply(rulesets[0], 3, ["wlan0"])
        engine.remove()
        assert not pins.folder.exists()


def test_a_new_program_takes_over_with_its_counters(
    ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version is loaded beside the old one, links move to it, counters are kept, the old one is removed."""
    generator = Generator(*ends, [ip_address("1.1.1.1")], 443)
    with contextlib.closing(generator), ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        generator.send(1_000)
        time.sleep(0.1)
        old = pins.sets()
        monkeypatch.setattr(engine.loader, "version", lambda: "0123456789ab")
        engine.apply(rulesets[0], 2, ["eth0"])
        assert len(pins.sets()) == 1
        assert pins.sets() != old
        assert counts(engine)[("ipv4", "CN")][0] == 1_000
        generator.send(500)
        time.sleep(0.1)
        assert counts(engine)[("ipv4", "CN")][0] == 1_500
        assert engine.verify(rulesets[0]) == []
        engine.remove()


def test_verify_finds_what_was_changed(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """One changed byte of the policy or of the tables is a difference."""
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        with ProgramSet.open(pins.sets()[0]) as programs:
            word = programs.word()
            for kind, slot, where in (("tables", word.tables, "tables map"), ("policy", word.policy, "policy map")):
                fd = libbpf.get(str(programs.folder / f"{kind}{slot}"))
                with libbpf.map_memory(fd, 1 << 18) as memory:
                    kept = memory[100_000]
                    memory[100_000] = kept ^ 1
                    assert next(one.where for one in engine.verify(rulesets[0])).startswith(where)
                    memory[100_000] = kept
                os.close(fd)
        assert engine.verify(rulesets[0]) == []
        engine.remove()


def test_tables_that_lead_nowhere_name_no_zone(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """A lookup that leaves the tables finds no zone, not zone 0. Only a program that overwrites the tables can cause
    it.

    Then no packet is dropped, since never-drop prefixes cannot be found either; `verify` reports the difference.
    """
    more, no_zone, root = 0x8000_0000, 0xFFFF, 0x0101
    line_past_all, line = struct.pack("=I", more | 0x07FF_FFFF), 0
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        with ProgramSet.open(pins.sets()[0]) as programs:
            slot = programs.word().tables
            fd = libbpf.get(str(programs.folder / f"tables{slot}"))
            with libbpf.map_memory(fd, 2 * lay.SEGMENT_BYTES) as memory:
                for word in (line_past_all, struct.pack("=I", more | line)):
                    memory[4 * root : 4 * root + 4] = word
                    memory[lay.SEGMENT_BYTES : lay.SEGMENT_BYTES + lay.LINE_BYTES] = line_past_all * 16
                    assert programs.ask(slot, [keys(4, int(ip_address("1.1.1.1")))]) == [no_zone]
                    frame = framed(encode(Packet("1.1.1.1"), 1))
                    assert libbpf.run_program(programs.fds["geodrop"], frame)[0] == PASS
            os.close(fd)
        assert engine.verify(rulesets[0]) != []
        engine.remove()
