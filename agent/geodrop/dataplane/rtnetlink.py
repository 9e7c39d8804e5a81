"""Interfaces and default routes as rtnetlink tells them: all of them when asked, and every change as it comes.

A reader of its own, since pyroute2 takes longer to import than a load takes, and 10 MB that a daemon would never give
back. Unit tests hold it against pyroute2, which knows the layouts from another source.

Sources: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h; numbers in the byte order of the host.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Self

from geodrop.dataplane import socket_filter
from geodrop.dataplane.nftables import wire
from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
GROUPS = (1, 7, 11)
"""RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE."""

_REQUEST, _DUMP, _DUMP_INTR = 0x1, 0x300, 0x10
_RECEIVE = 64 << 10
_INTERRUPTED_DUMPS = 10
_IFINFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, which of them changed."""
_ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags."""
_TYPE_AT, _DESTINATION_LENGTH_AT = 4, 17
_HOP = struct.Struct("=HBBi")
"""struct rtnexthop: length, flags, hops, interface."""
RTN_UNICAST, RT_TABLE_MAIN = 1, 254


class Message(IntEnum):
    """RTM_*, and the two that end an answer."""

    ERROR = 2
    DONE = 3
    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26


class Attribute(IntEnum):
    """IFLA_*, IFLA_INFO_* and RTA_*."""

    IFNAME = 3
    LINK = 5
    LINKINFO = 18
    INFO_KIND = 1
    OIF = 4
    MULTIPATH = 9


@dataclass(frozen=True, slots=True)
class Link:
    """One interface: `parent` is the index of the interface that it is a VLAN of; 0 if it is none."""

    index: int
    name: str
    kind: str = ""
    parent: int = 0


def read_links() -> list[Link]:
    """All interfaces of the calling thread's network namespace; raises UnavailableError."""
    return [_link(body) for body in _dump(Message.GETLINK, _IFINFO.pack(0, 0, 0, 0, 0))]


def default_routes() -> set[int]:
    """Indexes of the interfaces that default routes of either family lead out of, multipath ones included."""
    indexes: set[int] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in _dump(Message.GETROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
            if (length, table, kind) == (0, RT_TABLE_MAIN, RTN_UNICAST):
                indexes |= set(_outgoing(wire.parse(body[_ROUTE.size :])))
    return indexes


class LinkEvents:
    """Interfaces and default routes of the calling thread's network namespace that change, from now on. Never blocks.

    Other routes, of which a router may have a million, are left out by a filter in the kernel.
    """

    def __init__(self) -> None:
        self._known = {link.index: link for link in read_links()}
        self._socket = _open(socket.SOCK_NONBLOCK)
        socket_filter.attach(self._socket, _links_and_default_routes())
        for group in GROUPS:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def fileno(self) -> int:
        """Readable when there is something to read."""
        return self._socket.fileno()

    def read(self) -> bool:
        """Whether interfaces came, went or were renamed, or a default route did, since the last call.

        True as well when events were lost. What else interfaces tell, such as carrier or addresses, is left out.
        """
        changed = False
        while True:
            try:
                received = memoryview(self._socket.recv(_RECEIVE))
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                changed = True
                continue
            for kind, _, _, body in wire.messages(received):
                changed = self._is_news(kind, body) or changed

    def _is_news(self, kind: int, body: memoryview) -> bool:
        if kind not in (Message.NEWLINK, Message.DELLINK):
            return kind in (Message.NEWROUTE, Message.DELROUTE)
        if body[0] != socket.AF_UNSPEC:
            return False  # a bridge's view of its port
        link = _link(body)
        if kind == Message.DELLINK:
            return self._known.pop(link.index, None) is not None
        before, self._known[link.index] = self._known.get(link.index), link
        return before != link


def _link(body: memoryview) -> Link:
    _, _, index, _, _ = _IFINFO.unpack_from(body)
    found = wire.parse(body[_IFINFO.size :])
    information = wire.parse(found.get(Attribute.LINKINFO, memoryview(b"")))
    kind = wire.text(information[Attribute.INFO_KIND]) if Attribute.INFO_KIND in information else ""
    # A veth's IFLA_LINK is its peer, maybe in another namespace: only VLANs are stacked here.
    stacked = kind == "vlan" and Attribute.LINK in found
    return Link(index, wire.text(found[Attribute.IFNAME]), kind, _number(found[Attribute.LINK]) if stacked else 0)


def _outgoing(found: Mapping[int, memoryview]) -> Iterator[int]:
    if Attribute.OIF in found:
        yield _number(found[Attribute.OIF])
    hops = found.get(Attribute.MULTIPATH, memoryview(b""))
    while len(hops) >= _HOP.size:
        length, _, _, index = _HOP.unpack_from(hops)
        yield index
        hops = hops[max(length, _HOP.size) :]


def _number(value: memoryview) -> int:
    return int(value.cast("I")[0])


def _open(flags: int = 0) -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags, socket.NETLINK_ROUTE)
    except OSError as error:
        raise UnavailableError(
            f"no netlink socket to learn of interfaces ({error.strerror})",
            "allow AF_NETLINK (RestrictAddressFamilies= in a unit)",
        ) from error
    made.bind((0, 0))
    return made


def _dump(question: Message, body: bytes) -> list[memoryview]:
    """The bodies of all answers; asked again if something changed meanwhile."""
    with _open() as channel:
        for sequence in range(1, _INTERRUPTED_DUMPS + 1):
            length = wire.HEADER.size + len(body)
            channel.send(wire.HEADER.pack(length, question, _REQUEST | _DUMP, sequence, 0) + body)
            answers, whole = _answers(channel, sequence)
            if whole:
                return answers
    raise UnavailableError("the interfaces keep changing while they are read", "try again")


def _answers(channel: socket.socket, sequence: int) -> tuple[list[memoryview], bool]:
    answers: list[memoryview] = []
    whole = True
    while True:
        for kind, flags, answered, body in wire.messages(memoryview(channel.recv(_RECEIVE))):
            if answered != sequence:
                continue
            whole = whole and not flags & _DUMP_INTR
            if kind == Message.ERROR and (number := -struct.unpack_from("=i", body)[0]):
                raise UnavailableError(f"the kernel does not tell its interfaces ({os.strerror(number)})", "see dmesg")
            if kind in (Message.DONE, Message.ERROR):
                return answers, whole
            answers.append(body)


def _links_and_default_routes() -> list[socket_filter.Line]:
    """The message is about a link, or about a route whose destination has no length."""
    return [
        (socket_filter.LOAD_HALF, 0, 0, _TYPE_AT),
        (socket_filter.JUMP_EQUAL, 3, 0, socket_filter.half(Message.NEWLINK)),
        (socket_filter.JUMP_EQUAL, 2, 0, socket_filter.half(Message.DELLINK)),
        (socket_filter.LOAD_BYTE, 0, 0, _DESTINATION_LENGTH_AT),
        (socket_filter.JUMP_EQUAL, 0, 1, 0),
        socket_filter.TAKE,
        socket_filter.LEAVE,
    ]
