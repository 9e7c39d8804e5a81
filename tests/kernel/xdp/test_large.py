# SPDX-License-Identifier: Apache-2.0
"""Address spaces larger than the world: judged correctly up to the program's limits, refused beyond them."""

from __future__ import annotations

import os
import random
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest

from geodrop.compile.xdp import MAX_CHILDREN
from geodrop.errors import ConfigError
from geodrop.geo.database import Database
from geodrop.linux import libbpf
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from geodrop.xdp.lookup import keys
from geodrop.xdp.program_set import ProgramSet
from geodrop.xdp.requirements import ENTRY_BYTES
from tests.bench.xdp_programs import intervals
from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.databases import country, write_database
from tests.support.engines import XdpEngine
from tests.support.synthetic import synthetic_ruleset
from tests.support.worlds import POLICY_CN, WORLD, compile_ruleset

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import End

pytestmark = [pytest.mark.root, pytest.mark.slow]

POLICY = """
version: 1
lists: {many: {file: many.txt}}
services:
  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: [list:many]}
"""
NETWORK = int(IPv6Address("2600::"))
ETHERNET = bytes(12) + b"\x86\xdd"
DROP, PASS = 1, 2  # enum xdp_action


def single_addresses(count: int, folder: Path) -> tuple[Ruleset, list[int]]:
    """Return a ruleset that drops `count` IPv6 addresses far apart, each with an entry for every 15 bits."""
    chosen = random.Random(count)
    addresses = [NETWORK | chosen.getrandbits(104) | 1 for _ in range(count)]
    text = "".join(f"{IPv6Address(address)}\n" for address in addresses).encode()
    database = write_database(folder / "world.mmdb", {"2600::/16": country("US")})
    policy, _ = load_policy(POLICY.encode(), "policy.yaml", lambda _: text)
    opened = Database.open(database.read_bytes(), database.name)
    return Ruleset.unpack(compile_ruleset(policy, [opened]), "test"), addresses


def test_a_world_that_has_grown(ends: tuple[End, End], pins: Pins, tmp_path: Path) -> None:
    """The bench's enlarged world, from a smaller one: the program finds the right zone at both ends of
    each interval.
    """
    database = write_database(tmp_path / "world.mmdb", WORLD)
    few = Ruleset.unpack(synthetic_ruleset(POLICY_CN, database, 1), "test")
    many = Ruleset.unpack(synthetic_ruleset(POLICY_CN, database, 500), "test")
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(many, 1, ["eth0"])
        with ProgramSet.open(pins.sets()[0]) as programs:
            for family in (4, 6):
                every = intervals(many, family, denied=False)
                assert len(every) > 100 * len(intervals(few, family, denied=False))
                chosen = random.Random(family).sample(every, 5_000)
                asked = [keys(family, address) for first, last, _ in chosen for address in (first, last)]
                found = programs.ask(programs.word().tables, asked)
                assert found == [zone for *_, zone in chosen for _ in range(2)]
        engine.remove()


def test_entries_by_the_hundred_thousand(ends: tuple[End, End], pins: Pins, tmp_path: Path) -> None:
    """Thirty times as many entries as in the world: listed addresses are dropped, their neighbours are not."""
    ruleset, addresses = single_addresses(45_000, tmp_path)
    assert len(ruleset.sections["xdp/children"]) // ENTRY_BYTES > 270_000
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(ruleset, 1, ["eth0"])
        program = libbpf.get(str(pins.sets()[0] / "geodrop"))
        for address in addresses[::20]:
            for source, verdict in ((address, DROP), (address - 1, PASS)):
                frame = ETHERNET + encode(Packet(str(IPv6Address(source))), 1)
                assert libbpf.run_program(program, frame)[0] == verdict, IPv6Address(source)
        os.close(program)
        engine.remove()


def test_what_is_too_large_is_refused_with_the_figure(ends: tuple[End, End], pins: Pins, tmp_path: Path) -> None:
    """The error (78) names what the ruleset needs and what is available; nothing is pinned."""
    ruleset, _ = single_addresses(77_000, tmp_path)
    with (
        ends[1].namespace.entered(),
        pytest.raises(ConfigError, match=rf"needs \d\d\d,\d\d\d table entries, {MAX_CHILDREN:,} is the most") as caught,
    ):
        XdpEngine(pins=pins).apply(ruleset, 1, ["eth0"])
    assert caught.value.exit_code == 78
    assert caught.value.next_step == "load it with --engine nftables"
    assert not pins.sets()
