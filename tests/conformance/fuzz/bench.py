# SPDX-License-Identifier: Apache-2.0
"""The fuzzer's bench: one client, and servers that get the same frames, each behind an engine or behind nothing.

    client ─to-plain────── eth0 server without geodrop
           ─to-nftables─── eth0 server
           ─to-xdp-native─ eth0 server

Nothing waits for a fixed time: a marker follows each batch, and packets of one veth stay in order. A batch is smaller
than any queue on its way.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.fuzz.ears import MARKER_PORT, Delivery, Ears
from tests.conformance.fuzz.shapes import MTU
from tests.conformance.fuzz.sides import ALLOWED, LOCAL, Origin
from tests.conformance.fuzz.transports import checksum
from tests.oracle.packet import UDP, parsed
from tests.support.namespaces import PACKET_QDISC_BYPASS, SOL_PACKET, End, Namespace, join, mac_address, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Heard = dict[Origin, set[Delivery]]

BATCH = 100
"""Frames between two markers. A veth with XDP has places for 256."""

INTERFACE = "eth0"
ANSWER_WITHIN = 300
"""Seconds until a marker must have come through, however busy the machine."""

_SERVER_MAC = "02:00:00:00:00:01"
_GATEWAYS = {4: ("203.0.113.254", 24), 6: ("2001:db8::fe", 64)}

_SETTINGS = {
    # Cookies answer openings, so no queue of half-open connections is ever full.
    "ipv4/tcp_syncookies": 2,
    # Incomplete datagrams stay for their time, and there is room for all of them. The upper limit is set first.
    "ipv4/ipfrag_high_thresh": 1 << 30,
    "ipv4/ipfrag_low_thresh": 1 << 29,
    "ipv4/ipfrag_max_dist": 0,
    "ipv6/ip6frag_high_thresh": 1 << 30,
    "ipv6/ip6frag_low_thresh": 1 << 29,
    # All extension headers and options are accepted.
    "ipv6/max_dst_opts_number": 1 << 20,
    "ipv6/max_hbh_opts_number": 1 << 20,
    "ipv4/conf/all/accept_source_route": 1,
    "ipv4/conf/eth0/accept_source_route": 1,
    # No packet changes the route of answers.
    "ipv4/conf/all/accept_redirects": 0,
    "ipv4/conf/eth0/accept_redirects": 0,
    "ipv6/conf/eth0/accept_redirects": 0,
    "ipv6/conf/eth0/accept_ra": 0,
}


_TRACKED_SETTINGS = {
    "netfilter/nf_conntrack_frag6_high_thresh": 1 << 30,
    "netfilter/nf_conntrack_frag6_low_thresh": 1 << 29,
}

_TRACKING = """
table inet tracking {
  chain input { type filter hook input priority 0; ct state new counter; }
}
"""


@dataclass
class Server:
    """One server: its namespace, its sockets, and the client's way to it."""

    name: str
    namespace: Namespace
    ears: Ears
    wire: socket.socket
    link: bytes
    """The hardware addresses of a frame."""

    _markers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def hear(self, sent: Sequence[tuple[Origin, Sequence[bytes]]]) -> Heard:
        """Send everything, and return what the sockets read of it."""
        heard: Heard = defaultdict(set)
        for batch in _batches(frame for _, frames in sent for frame in frames):
            for frame in batch:
                self.wire.send(self.link + frame)
            marker = struct.pack("!Q", next(self._markers))
            self.wire.send(self.link + _marker_frame(marker))
            self.ears.wait_for(marker, ANSWER_WITHIN)
            for origin, delivery in self.ears.heard():
                heard[origin].add(delivery)
        expected = {origin for origin, _ in sent}
        return {origin: deliveries for origin, deliveries in heard.items() if origin in expected}


def _batches(frames: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(itertools.islice(frames, BATCH)):
        yield batch


def _marker_frame(marker: bytes) -> bytes:
    source, dest = Origin(ALLOWED, 0xFFFFFF).ipv4, parsed(LOCAL[4][0]).packed
    datagram = struct.pack("!HHHH", MARKER_PORT, MARKER_PORT, 8 + len(marker), 0) + marker
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, UDP, 0) + source + dest
    return struct.pack("!H", 0x0800) + header[:10] + struct.pack("!H", checksum(header)) + header[12:] + datagram


@contextlib.contextmanager
def bench(names: Sequence[str], *, tracked: bool = False) -> Iterator[dict[str, Server]]:
    """Yield servers by name, all without an engine; `tracked` ones track connections and reassemble fragments early."""
    # Packets of a thread that moves to another processor could overtake each other.
    processors = os.sched_getaffinity(0)
    with contextlib.ExitStack() as stack:
        client, *made = stack.enter_context(namespaces("client", *("server" for _ in names)))
        os.sched_setaffinity(0, {min(processors)})
        stack.callback(os.sched_setaffinity, 0, processors)
        with client.entered():
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1", encoding="ascii")
        servers = {
            name: stack.enter_context(_server(client, namespace, name, number))
            for number, (name, namespace) in enumerate(zip(names, made, strict=True))
        }
        for server in servers.values() if tracked else ():
            server.namespace.nft(_TRACKING)
            _set(server.namespace, _TRACKED_SETTINGS)
        yield servers


@contextlib.contextmanager
def _server(client: Namespace, namespace: Namespace, name: str, number: int) -> Iterator[Server]:
    near, far = (
        End(client, f"to{number}"),
        End(namespace, INTERFACE, [f"{a}/{_GATEWAYS[f][1]}" for f in LOCAL for a in LOCAL[f]]),
    )
    join(near, far)
    client.run("ip", "link", "set", near.name, "mtu", str(MTU))
    namespace.run("ip", "link", "set", INTERFACE, "mtu", str(MTU), "address", _SERVER_MAC)
    gateway_mac = mac_address(near)
    _set(namespace, _SETTINGS)
    for gateway, _ in _GATEWAYS.values():
        namespace.run(
            "ip", "neigh", "add", gateway, "lladdr", gateway_mac.hex(":"), "dev", INTERFACE, "nud", "permanent"
        )
        namespace.run("ip", "route", "add", "default", "via", gateway, "dev", INTERFACE)
    _wait_for_addresses(namespace)
    with contextlib.ExitStack() as stack:
        with namespace.entered():
            ears = stack.enter_context(Ears())
        with client.entered():
            wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            wire.bind((near.name, 0))
        wire.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        yield Server(name, namespace, ears, wire, bytes.fromhex(_SERVER_MAC.replace(":", "")) + gateway_mac)


def _set(namespace: Namespace, settings: Mapping[str, int]) -> None:
    with namespace.entered():
        for setting, value in settings.items():
            Path("/proc/sys/net", setting).write_text(str(value), encoding="ascii")


def _wait_for_addresses(namespace: Namespace) -> None:
    """Wait until the link has been seen to be up: before that no socket can be bound to an IPv6 address."""
    deadline = time.monotonic() + ANSWER_WITHIN
    while namespace.run("ip", "-6", "address", "show", "dev", INTERFACE, "tentative"):
        assert time.monotonic() < deadline, "the server's addresses stay tentative"
        time.sleep(0.01)
