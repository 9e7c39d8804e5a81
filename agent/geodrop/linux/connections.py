# SPDX-License-Identifier: Apache-2.0
"""The kernel's table of TCP connections, by NETLINK_SOCK_DIAG (sock_diag(7)); any user may read it.

The messages are decoded here and not by pyroute2: it takes some 50 us for each, so half a second for ten thousand.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from geodrop.errors import UnavailableError
from geodrop.linux import netlink

SOCK_DIAG_BY_FAMILY = 20
"""linux/sock_diag.h."""

ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT = 1, 4, 5, 8
"""States in which data may still come (include/net/tcp_states.h)."""
OPEN = 1 << ESTABLISHED | 1 << FIN_WAIT1 | 1 << FIN_WAIT2 | 1 << CLOSE_WAIT

REQUEST = struct.Struct("=BBBxI48x")
"""struct inet_diag_req_v2 (linux/inet_diag.h): family, protocol, extensions, states; any struct inet_diag_sockid."""
ANSWER = struct.Struct("=4x2s2s16s16s")
"""The start of struct inet_diag_msg: after family, state and timers, ports and addresses of both ends, big-endian; of
IPv4 the first four bytes of an address."""

MAPPED = bytes(10) + b"\xff\xff"
"""How a socket for both families has the address of an IPv4 peer (RFC 4291)."""

Address = IPv4Address | IPv6Address


class TcpConnection(NamedTuple):
    """One connection: its far end, and the local address and port, as in the packets that arrive."""

    peer: Address
    local: Address
    port: int


def read_connections() -> list[TcpConnection]:
    """Return the open TCP connections of the calling thread's network namespace. Raises UnavailableError."""
    found: list[TcpConnection] = []
    with netlink.NetlinkSocket(netlink.NETLINK_SOCK_DIAG, "read open connections") as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = REQUEST.pack(family, socket.IPPROTO_TCP, 0, OPEN)
            try:
                answers = kernel.dump(lambda sequence, body=body: _request(sequence, body))  # type: ignore[misc]
            except OSError as error:
                raise UnavailableError(
                    f"the kernel does not tell its open connections ({error.strerror})",
                    "it needs CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG",
                ) from error
            found += [_connection(answer, family) for answer in answers]
    return found


def _request(sequence: int, body: bytes) -> bytes:
    flags = netlink.REQUEST | netlink.DUMP
    return netlink.HEADER.pack(netlink.HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, flags, sequence, 0) + body


def _connection(answer: memoryview, family: int) -> TcpConnection:
    port, _, local, peer = ANSWER.unpack_from(answer, netlink.HEADER.size)
    return TcpConnection(_address(peer, family), _address(local, family), int.from_bytes(port, "big"))


def _address(data: bytes, family: int) -> Address:
    if family == socket.AF_INET:
        return IPv4Address(data[:4])
    return IPv4Address(data[12:]) if data.startswith(MAPPED) else IPv6Address(data)
