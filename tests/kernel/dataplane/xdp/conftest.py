"""What tests of the XDP engine share: two policies that say something else of one country, hosts, a bpffs."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

import pytest

from geodrop.compile.build import compile_ruleset
from geodrop.dataplane.xdp.loader import OBJECTS, LibbpfLoader
from geodrop.geo.database import Database
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.bpffs import own_pins
from tests.conformance.frames import encode
from tests.databases import country, write_database
from tests.namespaces import End, PacketSender, join, namespaces, require
from tests.oracle.packet import UDP, Packet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from geodrop.dataplane.xdp.pins import Pins

WORLD = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/8": country("US"),
    "5.0.0.0/8": country("RU"),
    "2400::/16": country("CN"),
    "2600::/16": country("US"),
    "2a02::/16": country("RU"),
}
HEAD = "version: 1\nservices:\n  api:\n    match: {ports: {tcp: [443]}}\n"
# Both drop CN and let US through; of RU each says something else, so that it can be seen which of them is in force.
POLICY_A = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
POLICY_B = HEAD + "    default: deny\n    unknown: deny\n    allow: [US]\n"

CHINA, AMERICA, RUSSIA = {"1.1.1.1", "2400::1"}, {"2.2.2.2", "2600::1"}, {"5.5.5.5", "2a02::1"}
LETS_THROUGH = {"": CHINA | AMERICA | RUSSIA, "a": AMERICA | RUSSIA, "b": AMERICA}
"""Whose packets come in under each policy, and where there is none."""

PACKET_OUTGOING = 4  # linux/if_packet.h
ETH_P_ALL = 3
SECONDS = 60
"""How long a packet that must come may take; it takes a millisecond."""


def compiled(policy: str, folder: Path, world: dict[str, object] | None = None) -> Ruleset:
    """A ruleset in memory."""
    database = write_database(folder / "world.mmdb", world or WORLD)
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    opened = Database.open(database.read_bytes(), database.name)
    return Ruleset.unpack(compile_ruleset(parsed, [opened], xdp=True), "test")


@pytest.fixture
def rulesets(tmp_path: Path) -> list[Ruleset]:
    """The two policies."""
    return [compiled(policy, tmp_path) for policy in (POLICY_A, POLICY_B)]


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """A sender and a judged host, joined."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        pair = End(sender, "eth0"), End(host, "eth0")
        join(*pair)
        yield pair


@pytest.fixture
def three_pairs() -> Iterator[list[tuple[End, End]]]:
    """A sender and a judged host, joined thrice: eth0, eth1, eth2."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        pairs = [(End(sender, f"eth{number}"), End(host, f"eth{number}")) for number in range(3)]
        for pair in pairs:
            join(*pair)
        yield pairs


@pytest.fixture
def pins() -> Iterator[Pins]:
    """A bpffs of our own."""
    with own_pins() as made:
        yield made


class Probe:
    """Says by packets which policy judges on an interface."""

    def __init__(self, sender: End, judged: End) -> None:
        self._sender = PacketSender(sender, judged)
        with judged.namespace.entered():
            self._receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self._receiver.bind((judged.name, ETH_P_ALL))
        self._receiver.settimeout(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._receiver.close()

    def let_through(self, sources: Sequence[str]) -> set[str]:
        """Send a packet from each source to the service, and give back whose came in."""
        frames = {encode(Packet(source), 1): source for source in sources}
        last = encode(Packet(sources[0], protocol=UDP, dport=9), 1)  # no service takes it, and it cannot overtake
        self._sender.send([*frames, last])
        came: set[str] = set()
        while True:
            frame, (_, _, kind, *_) = self._receiver.recvfrom(2048)
            if kind == PACKET_OUTGOING:
                continue
            if frame == last:
                return came
            if frame in frames:
                came.add(frames[frame])

    def policy(self) -> str:
        """The policy in force: a key of LETS_THROUGH, whose packets came in and no other ones."""
        came = self.let_through(sorted(LETS_THROUGH[""]))
        return next(name for name, sources in LETS_THROUGH.items() if sources == came)


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)


def another_version(folder: Path) -> LibbpfLoader:
    """A loader of the same program in other bytes."""
    for name in ("geodrop.bpf.o", "geodrop_no_clock.bpf.o"):
        # What follows the section headers belongs to no section: a program of another version in nothing but its hash.
        (folder / name).write_bytes((OBJECTS / name).read_bytes() + b"another version")
    return LibbpfLoader(folder)
