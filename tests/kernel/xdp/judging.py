# SPDX-License-Identifier: Apache-2.0
"""A program with every kind of service in force, and the oracle that says what the program should do."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import maxminddb
import pytest

from geodrop.geo.database import Database
from geodrop.linux import libbpf
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.oracle.ladder import Oracle
from tests.oracle.packet import Packet, judge
from tests.support.bpffs import own_pins
from tests.support.databases import city, country, write_database
from tests.support.engines import XdpEngine
from tests.support.namespaces import namespaces
from tests.support.worlds import compile_ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.oracle.ladder import Answer
    from tests.oracle.policy import Service

DROP, PASS = 1, 2  # enum xdp_action
CONTEXT = "=6I"  # struct xdp_md; the second field ends the first buffer

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


class Remembering(Oracle):
    """An oracle that answers for each address and service once: its answers depend on nothing else."""

    def __init__(self, policy: str, database: Path) -> None:
        super().__init__(policy, [maxminddb.open_database(database, maxminddb.MODE_MEMORY)], datetime.now(UTC))
        self._known: dict[tuple[str, str], Answer] = {}

    def answer(self, address: str, service: Service) -> Answer:
        """Return the answer for one service."""
        key = address, service.name
        if key not in self._known:
            self._known[key] = super().answer(address, service)
        return self._known[key]


class Judging:
    """The loaded program and the oracle."""

    def __init__(self, program: int, oracle: Oracle) -> None:
        self._program = program
        self._oracle = oracle

    def run(self, frame: bytes) -> int:
        """Return the program's verdict, and check that it leaves the frame unchanged."""
        verdict, left, _ = libbpf.run_program(self._program, frame)
        assert left == frame
        return verdict

    def run_in_buffers(self, frame: bytes, first: int) -> int:
        """Return the verdict for a frame whose first buffer holds `first` bytes; skip the test if the kernel cannot do
        it.
        """
        given = ctypes.create_string_buffer(frame, len(frame))
        context = ctypes.create_string_buffer(struct.pack(CONTEXT, 0, first, 0, 0, 0, 0))
        options = libbpf.TestRunOptions(size=ctypes.sizeof(libbpf.TestRunOptions), repeat=1)
        options.data_in, options.data_size_in = ctypes.addressof(given), len(frame)
        options.ctx_in, options.ctx_size_in = ctypes.addressof(context), struct.calcsize(CONTEXT)
        try:
            libbpf.call("bpf_prog_test_run_opts", self._program, ctypes.byref(options))
        except OSError as error:
            if error.errno == errno.EINVAL:
                pytest.skip("Linux before 6.18 fills the first buffer of a test run")
            raise
        return int(options.retval)

    def expected(self, packet: Packet) -> int:
        """Return the oracle's verdict."""
        return DROP if judge(self._oracle, packet).verdict == "drop" else PASS


@contextlib.contextmanager
def judging(folder: Path, policy: str = POLICY) -> Iterator[Judging]:
    """Yield program and oracle; files are made in a folder."""
    path = write_database(folder / "world.mmdb", WORLD)
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    data = compile_ruleset(parsed, [Database.open(path.read_bytes(), path.name)])
    oracle = Remembering(policy, path)
    with own_pins() as pins, namespaces("host") as [host], host.entered():
        host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
        engine = XdpEngine(pins=pins)
        engine.apply(Ruleset.unpack(data, "test"), 1, ["eth0"])
        program = libbpf.get(str(pins.sets()[0] / "geodrop"))
        yield Judging(program, oracle)
        os.close(program)
        engine.remove()


def framed(packet: bytes, tags: Sequence[tuple[int, int]] = ()) -> bytes:
    """Put an Ethernet header with VLAN tags (protocol, identifier) before a packet, without padding."""
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    return bytes(12) + b"".join(struct.pack("!HH", *tag) for tag in tags) + kind + packet


def padded(frame: bytes) -> bytes:
    """Pad a frame as Ethernet does, but not with zeros."""
    return frame.ljust(60, b"\xff")


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)
