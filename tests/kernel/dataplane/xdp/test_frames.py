"""Frames by the hundred thousand, crafted and random, through test runs of the program: its verdict is the oracle's."""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import maxminddb
import pytest

from geodrop.compile.build import compile_ruleset
from geodrop.dataplane.xdp import libbpf
from geodrop.dataplane.xdp.engine import XdpEngine
from geodrop.geo.database import Database
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.bpffs import own_pins
from tests.conformance.frames import encode
from tests.databases import city, country, write_database
from tests.namespaces import namespaces, require
from tests.oracle.ladder import Oracle
from tests.oracle.packet import LOCAL, Packet, judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.slow]

FRAMES = int(os.environ.get("GEODROP_TEST_FRAMES", "200000"))
DROP, PASS = 1, 2  # enum xdp_action

WORLD = {
    "1.0.0.0/8": country("CN"),
    "1.2.3.0/25": country("US"),
    "1.2.3.4/32": country("RU"),
    "2.0.0.0/8": country("US"),
    "5.0.0.0/8": country("UA"),
    "5.43.0.0/16": city("UA", "43"),
    "9.9.0.0/16": country("", continent="AS"),
    "2400::/16": country("CN"),
    "2400:1:2:3::/65": country("US"),
    "2400:1:2:3::4/128": country("RU"),
    "2600::/16": country("US"),
    "2a02::/16": country("UA"),
}
POLICY = """
version: 1
never_drop: {prefixes: [1.7.0.0/16, "2400:7::/32"], ports: {tcp: [22, 8443], udp: [53]}}
services:
  web:
    match: {ports: {tcp: [443, 8000-8500], udp: [443]}}
    default: allow
    unknown: deny
    deny: [CN, UA-43, 2.2.0.0/16]
  keep: {match: {ports: {tcp: [5000]}}, default: deny, unknown: deny, established: keep}
  ping: {match: {protocols: [icmp]}, default: deny, unknown: allow, allow: [US, 1.1.0.0/16, "2002:101::/32"]}
  edge: {match: {protocols: [47], addresses: [203.0.113.0/28, "2001:db8::/64"]}, default: deny, unknown: deny}
  later: {match: {ports: {tcp: [6000]}}, default: deny, unknown: deny, starts: 2040-01-01T00:00:00Z}
  trial: {match: {ports: {tcp: [443, 5000, 9000]}}, mode: monitor, default: deny, unknown: deny}
  rest: {default: allow, unknown: allow, deny: [RU, continent:AS]}
"""
SOURCES4 = ["1.2.3.4", "1.2.3.5", "1.2.3.200", "1.1.1.1", "1.7.0.1", "2.2.2.2", "2.9.9.9", "5.43.1.1", "5.5.5.5"]
SOURCES4 += ["9.9.9.9", "10.0.0.1", "200.1.1.1", "255.255.255.255", "0.0.0.1"]
SOURCES6 = ["2400:1:2:3::4", "2400:1:2:3::5", "2400:1:2:3:8000::", "2400::1", "2400:7::1", "2600::1", "2a02::1"]
SOURCES6 += ["2002:102:304::1", "2002:101:101::1", "2002:107:1::1", "2001:0:1:2:3:4:fefd:fcfb", "64:ff9b::102:304"]
SOURCES6 += ["::ffff:1.1.1.1", "fe80::1", "4000::1", "::1", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
PORTS = [0, 22, 53, 67, 68, 443, 546, 547, 5000, 6000, 7999, 8000, 8443, 8500, 8501, 9000, 65535]


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[tuple[int, Oracle]]:
    """The program with the policy in force, and the oracle."""
    require()
    path = write_database(tmp_path / "world.mmdb", WORLD)
    parsed, _ = load_policy(POLICY.encode(), "policy.yaml", _no_lists)
    data = compile_ruleset(parsed, [Database.open(path.read_bytes(), path.name)])
    oracle = Oracle(POLICY, [maxminddb.open_database(path, maxminddb.MODE_MEMORY)], datetime.now(UTC))
    with own_pins() as pins, namespaces("host") as [host], host.entered():
        host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
        engine = XdpEngine(pins=pins)
        engine.apply(Ruleset.unpack(data, "test"), 1, ["eth0"])
        program = libbpf.get(str(pins.sets()[0] / "geodrop"))
        yield program, oracle
        os.close(program)
        engine.remove()


def random_packet(chosen: random.Random) -> Packet:
    """Anything that the IP stack would take."""
    ipv6 = chosen.random() < 0.5
    fragment = chosen.choice([None, None, None, (0, True), (8, True), (1480, False)])
    later = fragment is not None and fragment[0] > 0
    protocol = chosen.choice([6, 6, 6, 17, 17, 1, 58, 47, 132, 59 if not ipv6 else 47])
    return Packet(
        chosen.choice(SOURCES6 if ipv6 else SOURCES4),
        chosen.choice([LOCAL[6], "2001:db8:1::1"] if ipv6 else [LOCAL[4], "203.0.113.16"]),
        protocol=protocol,
        sport=chosen.choice(PORTS),
        dport=chosen.choice(PORTS),
        flags=chosen.choice(["S", "SA", "A", "R", "SF", "", "FA"]),
        icmp_type=chosen.choice([0, 1, 2, 3, 4, 5, 8, 11, 12, 64, 67, 128, 129, 133, 135, 137, 138, 255]),
        hop_limit=chosen.choice([1, 64, 254, 255]),
        fragment=fragment,
        extensions=tuple(chosen.choices([0, 43, 60], k=chosen.choice([0, 0, 0, 1, 2, 9]))) if ipv6 else (),
        options=bytes(chosen.choice([0, 0, 4, 40])) if not ipv6 else b"",
        payload=bytes(chosen.choice([0, 8, 64])),
        cut=chosen.choice([None, None, 8, 12, 16]) if not later and protocol in (6, 17) else None,
    )


def framed(packet: bytes, chosen: random.Random) -> bytes:
    """Behind an Ethernet header with up to two tags, padded as Ethernet pads."""
    tags = b"".join(
        struct.pack("!HH", chosen.choice([0x8100, 0x88A8]), chosen.randrange(4096))
        for _ in range(chosen.choice([0, 0, 1, 2]))
    )
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return (bytes(12) + tags + kind + packet).ljust(60, b"\xff")


def test_every_verdict_is_the_oracles(loaded: tuple[int, Oracle]) -> None:
    """Crafted packets of every kind, tagged or not, padded or not."""
    program, oracle = loaded
    chosen = random.Random(20_260_601)
    seen: Counter[str] = Counter()
    for number in range(FRAMES):
        packet = random_packet(chosen)
        frame = framed(encode(packet, number & 0xFFFF), chosen)
        verdict, left, _ = libbpf.run_program(program, frame)
        expected = judge(oracle, packet).verdict
        assert verdict == (DROP if expected == "drop" else PASS), (packet, expected)
        assert left == frame
        seen[expected] += 1
    assert min(seen["accept"], seen["drop"]) > FRAMES / 10


def test_malformed_frames_harm_nothing(loaded: tuple[int, Oracle]) -> None:
    """Frames cut at every length and frames with random bytes changed are passed or dropped, and left as they are."""
    program, _ = loaded
    chosen = random.Random(7)
    seen: Counter[int] = Counter()
    for _ in range(300):
        whole = framed(encode(random_packet(chosen), 1), chosen)
        for length in range(14, len(whole)):
            verdict, left, _ = libbpf.run_program(program, whole[:length])
            seen[verdict] += 1
            assert left == whole[:length]
        for _ in range(20):
            changed = bytearray(whole)
            for _ in range(chosen.randrange(1, 6)):
                changed[chosen.randrange(len(changed))] = chosen.randrange(256)
            verdict, _, _ = libbpf.run_program(program, bytes(changed))
            seen[verdict] += 1
    assert seen.keys() == {DROP, PASS}


def test_a_chain_of_headers_hides_no_port(loaded: tuple[int, Oracle]) -> None:
    """As many extension headers as an Ethernet frame holds: the port behind them is still found."""
    program, oracle = loaded
    for count in (1, 8, 64, 170):
        packet = Packet("2400::1", dport=443, extensions=(60,) * count)
        assert judge(oracle, packet).verdict == "drop"
        verdict, _, _ = libbpf.run_program(program, framed(encode(packet, 1), random.Random(1)))
        assert verdict == DROP, count


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)
