# SPDX-License-Identifier: Apache-2.0
"""The server's sockets, and what they read: the stack itself says what arrived.

Raw sockets read every datagram that the stack reassembles and hands to a protocol; UDP sockets read what passes their
own checks; and TCP listeners answer an opening, which a packet socket sees leave. The answers are cookies, so that no
listener ever has a full queue.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.conformance.fuzz.sides import LOCAL, origin_of, text
from tests.conformance.fuzz.transports import ESP, EXPERIMENT, GRE, IPIP, IPV6, NO_NEXT_HEADER, PORTS, SCTP
from tests.oracle.packet import AUTHENTICATION, ICMP, ICMPV6, TCP, UDP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.fuzz.sides import Origin

_TUNNELS = (IPIP, IPV6, GRE, ESP, AUTHENTICATION, SCTP, EXPERIMENT)
RAW = {4: (TCP, UDP, ICMP, *_TUNNELS), 6: (TCP, UDP, ICMPV6, *_TUNNELS, NO_NEXT_HEADER)}
"""Protocols whose datagrams are read whole."""

MARKER_PORT = 9

DECIDES = 128
"""More bytes of a datagram than any verdict depends on."""

_BUFFER = 64 << 20
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 3
_SYN = 0x02
_LONGEST = 65_535


@dataclass(frozen=True)
class Delivery:
    """What one socket read of one datagram. `data` begins with the transport header, up to DECIDES bytes."""

    socket: str
    dest: str
    protocol: int
    hop_limit: int
    data: bytes


class Ears:
    """All sockets of one server, opened in the namespace of the calling thread."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._poll = select.poll()
        self._ears: dict[int, _Ear] = {}
        for family, addresses in LOCAL.items():
            for address in addresses:
                for port in PORTS:
                    self._listen(family, address, port)
                    self._add(_Udp(self._bound(family, socket.SOCK_DGRAM, address, port), address))
                if family == 6:
                    for protocol in RAW[6]:
                        self._add(_Raw6(self._bound(6, socket.SOCK_RAW, address, protocol=protocol), address, protocol))
        for protocol in RAW[4]:
            self._add(_Raw4(self._bound(4, socket.SOCK_RAW, "0.0.0.0", protocol=protocol)))  # noqa: S104 - it hears all
        self._add(_Answers(self._stack.enter_context(_packet_socket())))
        self._marker = self._bound(4, socket.SOCK_DGRAM, LOCAL[4][0], MARKER_PORT)

    def wait_for(self, marker: bytes, seconds: float) -> None:
        """Wait until a marker has been read: then everything sent before it has been read, too."""
        self._marker.settimeout(seconds)
        while self._marker.recv(64) != marker:
            pass

    def heard(self) -> Iterator[tuple[Origin, Delivery]]:
        """Yield what there is to read, and from which origin."""
        for descriptor, _ in self._poll.poll(0):
            with contextlib.suppress(BlockingIOError):
                while True:
                    source, delivery = self._ears[descriptor].read()
                    yield origin_of(source), delivery

    def close(self) -> None:
        """Close all sockets."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, ear: _Ear) -> None:
        self._ears[ear.socket.fileno()] = ear
        self._poll.register(ear.socket, select.POLLIN)

    def _listen(self, family: int, address: str, port: int) -> None:
        self._bound(family, socket.SOCK_STREAM, address, port).listen()

    def _bound(self, family: int, kind: int, address: str, port: int = 0, protocol: int = 0) -> socket.socket:
        made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind, protocol)
        self._stack.enter_context(made)
        made.settimeout(0)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        made.bind((address, port))
        return made


class _Ear:
    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened

    def read(self) -> tuple[bytes, Delivery]:
        """Return the next datagram and its source. Raises BlockingIOError if there is none."""
        raise NotImplementedError


class _Udp(_Ear):
    def __init__(self, opened: socket.socket, dest: str) -> None:
        super().__init__(opened)
        self._dest, self._port = dest, opened.getsockname()[1]

    def read(self) -> tuple[bytes, Delivery]:
        sender = self.socket.recvfrom(0, socket.MSG_TRUNC)[1]
        ports = struct.pack("!HHI", sender[1], self._port, 0)
        return socket.inet_pton(self.socket.family, sender[0]), Delivery("udp", self._dest, UDP, 64, ports)


class _Raw4(_Ear):
    def read(self) -> tuple[bytes, Delivery]:
        data = self.socket.recv(_LONGEST)
        dest, transport = data[16:20], data[4 * (data[0] & 15) :][:DECIDES]
        return data[12:16], Delivery("raw", socket.inet_ntoa(dest), data[9], data[8], transport)


class _Raw6(_Ear):
    def __init__(self, opened: socket.socket, dest: str, protocol: int) -> None:
        super().__init__(opened)
        self._dest, self._protocol = dest, protocol
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)

    def read(self) -> tuple[bytes, Delivery]:
        data, ancillary, _, sender = self.socket.recvmsg(_LONGEST, 64)
        hops = int.from_bytes(ancillary[0][2], sys.byteorder)
        source = socket.inet_pton(socket.AF_INET6, sender[0].partition("%")[0])
        return source, Delivery("raw", self._dest, self._protocol, hops, data[:DECIDES])


class _Answers(_Ear):
    """Outgoing answers to TCP openings, from the IP header on; each counts as the delivery of the opening."""

    def read(self) -> tuple[bytes, Delivery]:
        data = self.socket.recv(_LONGEST)
        ipv4 = data[0] >> 4 == 4
        source, dest = (data[12:16], data[16:20]) if ipv4 else (data[8:24], data[24:40])
        here, there = struct.unpack_from("!HH", data, 4 * (data[0] & 15) if ipv4 else 40)
        opening = struct.pack("!HHIIBBHI", there, here, 0, 0, 5 << 4, _SYN, 0, 0)
        return dest, Delivery("tcp", text(source), TCP, 64, opening)


def _packet_socket() -> socket.socket:
    """Return a packet socket that only sees outgoing SYN-ACKs; it drops incoming packets at once."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _LEAVING_SYN_ACK)
    buffer = ctypes.create_string_buffer(code, len(code))
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    opened.settimeout(0)
    program = struct.pack(
        "HxxxxxxP" if struct.calcsize("P") == 8 else "HxxP", len(_LEAVING_SYN_ACK), ctypes.addressof(buffer)
    )
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    opened.bind(("eth0", _ETH_P_ALL))
    return opened


# Classic BPF, from the IP header on.
_LOAD_BYTE, _LOAD_BYTE_X, _LOAD_WORD, _HEADER_LENGTH_X = 0x30, 0x50, 0x20, 0xB1
_SHIFT_RIGHT, _AND, _EQUAL, _RETURN, _SET_X = 0x74, 0x54, 0x15, 0x06, 0x01
_PACKET_TYPE, _OUTGOING = 0xFFFFF004, 4
_LEAVING_SYN_ACK = (
    (_LOAD_WORD, 0, 0, _PACKET_TYPE),
    (_EQUAL, 0, 14, _OUTGOING),
    (_LOAD_BYTE, 0, 0, 0),
    (_SHIFT_RIGHT, 0, 0, 4),
    (_EQUAL, 4, 0, 6),
    (_LOAD_BYTE, 0, 0, 9),
    (_EQUAL, 0, 9, TCP),
    (_HEADER_LENGTH_X, 0, 0, 0),
    (_EQUAL, 3, 3, 0xFFFFFFFF),  # continue at the flags
    (_LOAD_BYTE, 0, 0, 6),
    (_EQUAL, 0, 5, TCP),
    (_SET_X, 0, 0, 40),
    (_LOAD_BYTE_X, 0, 0, 13),
    (_AND, 0, 0, 0x12),
    (_EQUAL, 0, 1, 0x12),
    (_RETURN, 0, 0, 256),
    (_RETURN, 0, 0, 0),
)
