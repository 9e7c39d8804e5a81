# SPDX-License-Identifier: Apache-2.0
"""Unusual datagrams that a socket reads without geodrop: with geodrop it reads those of allowed sources only.

This holds on both hooks, and the IP stack is the judge of what is readable.
"""

from __future__ import annotations

import itertools
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.conformance.frames import checksum
from tests.oracle.packet import DESTINATION, FRAGMENT, HOP_BY_HOP, LOCAL, UDP, parsed
from tests.support.engines import XdpEngine
from tests.support.namespaces import (
    ETH_P_8021AD,
    ETH_P_8021Q,
    ETH_P_IP,
    ETH_P_IPV6,
    End,
    PacketSender,
    join,
    mac_address,
    namespaces,
    require,
)
from tests.support.worlds import HEAD, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from geodrop.xdp.pins import Pins

pytestmark = pytest.mark.root

POLICY = HEAD.replace("tcp", "udp") + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
DENIED, ALLOWED = {4: "1.1.1.1", 6: "2400::1"}, {4: "2.2.2.2", 6: "2600::1"}
PORT, LAST = 443, b"the last one"
JUMBO = 9_000
PAGE = 4_096
SECONDS = 60
"""The deadline for a datagram that must arrive."""

Shape = tuple["Sequence[tuple[int, int]]", "Sequence[bytes]"]
"""Tags, and the packets of one datagram."""


class Ends(NamedTuple):
    """A sender, and a socket in the judged host that reads datagrams of both families."""

    sender: PacketSender
    raw: socket.socket
    ethernet: bytes
    reader: socket.socket

    def read_raw(self, payloads: dict[str, tuple[int, bytes]]) -> set[str]:
        """Send each payload behind an Ethernet header of its type; return the names whose datagram was read."""
        for kind, payload in payloads.values():
            self.raw.send(self.ethernet + struct.pack("!H", kind) + payload)
        return self.read({})

    def read(self, shapes: dict[str, Shape]) -> set[str]:
        """Send each shape; return the names whose datagram was read."""
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
    """Yield the two ends, joined by a wire with jumbo frames."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        ends = End(sender, "eth0"), End(host, "eth0", [f"{LOCAL[4]}/24", f"{LOCAL[6]}/64"])
        join(*ends)
        for end in ends:
            end.namespace.run("ip", "link", "set", "eth0", "mtu", str(JUMBO))
        with sender.entered():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind(("eth0", 0))
        ethernet = mac_address(ends[1]) + mac_address(ends[0])
        with (
            host.entered(),
            PacketSender(*ends) as packets,
            raw,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as reader,
        ):
            reader.bind(("::", PORT))
            reader.settimeout(SECONDS)
            yield Ends(packets, raw, ethernet, reader)


def datagram(family: int, source: str, text: bytes) -> bytes:
    """Return a UDP datagram to the service, with its checksum."""
    text += b"." * (len(text) % 2)
    header = struct.pack("!HHH", 40_000, PORT, 8 + len(text))
    pseudo = parsed(source).packed + parsed(LOCAL[family]).packed + struct.pack("!II", 8 + len(text), UDP)
    return header + struct.pack("!H", checksum(pseudo + header + b"\0\0" + text) or 0xFFFF) + text


def ipv4(source: str, body: bytes) -> bytes:
    """Return an IPv4 packet with this body."""
    ends = parsed(source).packed + parsed(LOCAL[4]).packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, UDP, 0)
    return header[:10] + struct.pack("!H", checksum(header + ends)) + ends + body


def ipv6(source: str, following: int, body: bytes, length: int | None = None) -> bytes:
    """Return an IPv6 packet with this body; `length` replaces the real payload length."""
    head = struct.pack("!IHBB", 6 << 28, len(body) if length is None else length, following, 64)
    return head + parsed(source).packed + parsed(LOCAL[6]).packed + body


def options(following: int, size: int) -> bytes:
    """Return a header of options that Linux skips: at most eight per header, and no PadN over 7 bytes."""
    left, made = size - 2, b""
    while left:
        one = min(left, 257 if left != 258 else 200)
        made += bytes([0x1E, one - 2]) + bytes(one - 2)
        left -= one
    return bytes([following, size // 8 - 1]) + made


def in_two(source: str, chain: bytes, rest: bytes) -> list[bytes]:
    """Return two fragments; the first holds only the chain, which begins with destination options."""
    first, second = (struct.pack("!BBHI", DESTINATION, 0, field, 77 + len(chain)) for field in (1, len(chain)))
    return [ipv6(source, FRAGMENT, first + chain), ipv6(source, FRAGMENT, second + rest)]


def shapes(sources: dict[int, str]) -> dict[str, Shape]:
    """Return all forms that carry a datagram, each with its own text."""
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
        # Linux itself refuses a first fragment that names UDP but does not hold the UDP header.
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
    """Each form is delivered without geodrop; otherwise the test would prove nothing."""
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
    """Linux itself removes any number of priority tags."""
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


def passed_unread() -> dict[str, tuple[int, bytes]]:
    """Return forms in which the program looks for no packet, each around its own datagram: Ethernet type
    and payload.
    """

    def one(name: str) -> bytes:
        return ipv4(DENIED[4], datagram(4, DENIED[4], name.encode()))

    six = ipv6(DENIED[6], UDP, datagram(6, DENIED[6], b"IPv6"))
    made = {"an IPv6 packet under the type of IPv4": (ETH_P_IP, six)}
    for name, link in {
        "LLC": "060603",
        "LLC and SNAP": "aaaa030000000800",
        "a bridge tunnel": "aaaa030000f80800",
    }.items():
        body = bytes.fromhex(link) + one(name)
        made[name] = len(body), body
        tagged = f"{name}, tagged"
        body = bytes.fromhex(link) + one(tagged)
        made[tagged] = ETH_P_8021Q, struct.pack("!HH", 0, len(body)) + body
    for kind in (0x9100, 0x9200, 0x9300, 0x88E7):
        name = f"a tag of type {kind:#x}"
        made[name] = kind, struct.pack("!HH", 0, ETH_P_IP) + one(name)
    made["MPLS"] = 0x8847, struct.pack("!I", 1 << 8 | 64) + one("MPLS")
    made["PPPoE"] = 0x8864, struct.pack("!BBHHH", 0x11, 0, 1, len(one("PPPoE")) + 2, 0x21) + one("PPPoE")
    made["an IPv4 packet under the type of IPv6"] = ETH_P_IPV6, one("an IPv4 packet under the type of IPv6")
    made["a header length below 5"] = ETH_P_IP, b"\x44" + one("a header length below 5")[1:]
    short = one("a length below the header's")
    head = short[:2] + struct.pack("!H", 19) + short[4:10]
    made["a length below the header's"] = (
        ETH_P_IP,
        head + struct.pack("!H", checksum(head + short[12:20])) + short[12:],
    )
    return made


def test_what_passes_unread_is_read_by_nobody(wire: Ends) -> None:
    """Where the program looks for no packet, Linux finds none either; a kernel that does would fail this test."""
    forms = passed_unread()
    assert len(forms) > 12
    assert wire.read_raw({"as usual": (ETH_P_IP, ipv4(DENIED[4], datagram(4, DENIED[4], b"as usual")))}) == {"as usual"}
    assert wire.read_raw(forms) == set()
