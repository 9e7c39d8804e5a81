"""The stack as judge: datagrams in odd forms that a socket reads without geodrop, it does not read from a denied source
with it, on either hook; from an allowed one it does.
"""

from __future__ import annotations

import itertools
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest

from geodrop.dataplane.xdp.engine import XdpEngine
from tests.conformance.frames import checksum
from tests.namespaces import ETH_P_8021AD, ETH_P_8021Q, End, PacketSender, join, namespaces, require
from tests.oracle.packet import DESTINATION, FRAGMENT, HOP_BY_HOP, LOCAL, UDP, parsed
from tests.worlds import HEAD, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from geodrop.dataplane.xdp.pins import Pins

pytestmark = pytest.mark.root

POLICY = HEAD.replace("tcp", "udp") + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
DENIED, ALLOWED = {4: "1.1.1.1", 6: "2400::1"}, {4: "2.2.2.2", 6: "2600::1"}
PORT, LAST = 443, b"the last one"
JUMBO = 9_000
PAGE = 4_096
SECONDS = 60
"""How long a datagram that must come may take."""

Shape = tuple["Sequence[tuple[int, int]]", "Sequence[bytes]"]
"""Tags, and the packets of one datagram."""


class Ends(NamedTuple):
    """A sender and a socket in the judged host that reads datagrams of both families."""

    sender: PacketSender
    reader: socket.socket

    def read(self, shapes: dict[str, Shape]) -> set[str]:
        """Send each, and say of which a datagram was read."""
        for tags, packets in shapes.values():
            for packet in packets:
                self.sender.send_tagged(packet, tags)
        self.sender.send([ipv4(ALLOWED[4], datagram(4, ALLOWED[4], LAST))])
        came = set()
        while (data := self.reader.recv(JUMBO)) != LAST:
            came.add(data.rstrip(b".").decode())
        return came


@pytest.fixture
def wire() -> Iterator[Ends]:
    """Joined, with jumbo frames."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        ends = End(sender, "eth0"), End(host, "eth0", [f"{LOCAL[4]}/24", f"{LOCAL[6]}/64"])
        join(*ends)
        for end in ends:
            end.namespace.run("ip", "link", "set", "eth0", "mtu", str(JUMBO))
        with (
            host.entered(),
            PacketSender(*ends) as packets,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as reader,
        ):
            reader.bind(("::", PORT))
            reader.settimeout(SECONDS)
            yield Ends(packets, reader)


def datagram(family: int, source: str, text: bytes) -> bytes:
    """UDP to the service, with its checksum."""
    text += b"." * (len(text) % 2)
    header = struct.pack("!HHH", 40_000, PORT, 8 + len(text))
    pseudo = parsed(source).packed + parsed(LOCAL[family]).packed + struct.pack("!II", 8 + len(text), UDP)
    return header + struct.pack("!H", checksum(pseudo + header + b"\0\0" + text) or 0xFFFF) + text


def ipv4(source: str, body: bytes) -> bytes:
    """A packet around it."""
    ends = parsed(source).packed + parsed(LOCAL[4]).packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, UDP, 0)
    return header[:10] + struct.pack("!H", checksum(header + ends)) + ends + body


def ipv6(source: str, following: int, body: bytes, length: int | None = None) -> bytes:
    """A packet around it; `length` is what it says that follows."""
    head = struct.pack("!IHBB", 6 << 28, len(body) if length is None else length, following, 64)
    return head + parsed(source).packed + parsed(LOCAL[6]).packed + body


def options(following: int, size: int) -> bytes:
    """A header of options that Linux skips: at most eight of them in a header, and no PadN of more than 7 bytes."""
    left, made = size - 2, b""
    while left:
        one = min(left, 257 if left != 258 else 200)
        made += bytes([0x1E, one - 2]) + bytes(one - 2)
        left -= one
    return bytes([following, size // 8 - 1]) + made


def in_two(source: str, chain: bytes, rest: bytes) -> list[bytes]:
    """Fragments: the first holds only the chain, which begins with destination options."""
    first, second = (struct.pack("!BBHI", DESTINATION, 0, field, 77 + len(chain)) for field in (1, len(chain)))
    return [ipv6(source, FRAGMENT, first + chain), ipv6(source, FRAGMENT, second + rest)]


def shapes(sources: dict[int, str]) -> dict[str, Shape]:
    """All forms that carry a datagram, each with its own text."""
    made: dict[str, Shape] = {}
    for count in (0, 1, 2, 3, 5, 8):
        for family, around in ((4, ipv4), (6, lambda source, body: ipv6(source, UDP, body))):
            for kinds in ((ETH_P_8021Q,), (ETH_P_8021AD, ETH_P_8021Q)):
                name = f"ipv{family} behind {count} tags of {len(kinds)} kinds"
                tags = [(kinds[number % len(kinds)], 0) for number in range(count)]
                made[name] = tags, [around(sources[family], datagram(family, sources[family], name.encode()))]
    source = sources[6]

    def add(name: str, *packets: bytes) -> None:
        made[name] = [], packets

    def text(name: str) -> bytes:
        return datagram(6, source, name.encode())

    for size in (8, 512, 1_024):
        # One that names UDP and does not hold its header is refused by Linux itself.
        name = f"a first fragment of {size} bytes that names more options"
        add(name, *in_two(source, options(DESTINATION, size), options(UDP, 8) + text(name)))
    for name, chain in {
        "length 0 behind hop-by-hop options": options(UDP, 8),
        "length 0 behind hop-by-hop and destination options": options(DESTINATION, 16) + options(UDP, 8),
    }.items():
        add(name, ipv6(source, HOP_BY_HOP, chain + text(name), 0))
    for count in (1, 2, 4):
        name = f"{count} headers of 2,048 bytes"
        chain = b"".join(options(DESTINATION, 2_048) for _ in range(count - 1)) + options(UDP, 2_048)
        add(name, ipv6(source, DESTINATION, chain + text(name)))
    return made


@pytest.mark.parametrize("attach", ["native", "generic"])
def test_what_a_socket_reads_is_judged(wire: Ends, pins: Pins, tmp_path: Path, attach: str) -> None:
    """Each form is delivered without geodrop, or it would show nothing."""
    denied, allowed = shapes(DENIED), shapes(ALLOWED)
    assert max(len(packet) for _, packets in denied.values() for packet in packets) > 2 * PAGE
    assert wire.read(denied) == denied.keys()
    engine = XdpEngine(pins=pins, attach=(attach,))
    engine.apply(compiled(POLICY, tmp_path), 1, ["eth0"])
    assert [one.attach for one in engine.observe().interfaces] == [attach]
    assert wire.read(denied) == set()
    assert wire.read(allowed) == allowed.keys()
    engine.remove()
    assert wire.read(denied) == denied.keys()


@pytest.mark.parametrize("attach", ["native", "generic"])
def test_what_lies_too_deep_is_read_from_nobody(wire: Ends, pins: Pins, tmp_path: Path, attach: str) -> None:
    """Linux takes off any number of priority tags."""
    engine = XdpEngine(pins=pins, attach=(attach,))
    deep: dict[str, Shape] = {}
    for count, source in itertools.product((9, 12), (DENIED[4], ALLOWED[4])):
        name = f"{count} tags from {source}"
        deep[name] = [(ETH_P_8021Q, 0)] * count, [ipv4(source, datagram(4, source, name.encode()))]
    assert wire.read(deep) == deep.keys()
    engine.apply(compiled(POLICY, tmp_path), 1, ["eth0"])
    assert wire.read(deep) == set()
    assert [count.dropped[0] for count in engine.counters() if not count.service] == [len(deep)]
    engine.remove()
