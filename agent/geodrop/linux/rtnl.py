"""Interfaces and default routes, as rtnetlink tells them. pyroute2 knows the messages; the socket is our own.

Not its IPRoute: that takes a dump for whole which changed while it was read (NLM_F_DUMP_INTR), and runs an event loop
of its own, which cannot be started where the daemon's runs. Of a router's million routes only the headers are read:
pyroute2 decodes those that are default routes.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from geodrop.errors import UnavailableError
from geodrop.linux.network import Link, Route, is_default
from geodrop.linux.pyroute2_messages import RTM_GETLINK, RTM_GETROUTE, ifinfmsg, nlmsg, rtmsg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geodrop.linux.pyroute2_messages import nlmsg_base

    Wanted = Callable[[memoryview], bool]

STACKED = frozenset({"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"})
"""Kinds whose frames come in by another interface (IFLA_LINK). A veth's IFLA_LINK is its peer."""

RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106  # linux/rtnetlink.h; pyroute2 0.9.7 has none of them
RTN_UNICAST = 1
RTA_NH_ID = 30

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""

_REQUEST, _DUMP, _DUMP_INTR = 0x1, 0x300, 0x10
_ERROR, _DONE = 2, 3
_RECEIVE = 64 << 10
_INTERRUPTED_DUMPS = 10
_ROUTE = struct.Struct("=BB5xB")
"""Of struct rtmsg: family, length of the destination, and, after what does not matter here, the type."""
_MEMBER = struct.Struct("=I4x")
"""struct nexthop_grp: a nexthop's number, and its weight."""


class RouteMessage(rtmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A route that may name a nexthop object, which pyroute2 0.9.7 leaves out."""

    nla_map = (*((number, *entry) for number, entry in enumerate(rtmsg.nla_map)), (RTA_NH_ID, "RTA_NH_ID", "uint32"))


class NexthopMessage(nlmsg):  # type: ignore[misc]  # as above
    """struct nhmsg and its attributes (linux/nexthop.h)."""

    prefix = "NHA_"
    fields = (("family", "B"), ("scope", "B"), ("protocol", "B"), ("resvd", "B"), ("flags", "I"))
    nla_map = ((1, "NHA_ID", "uint32"), (2, "NHA_GROUP", "cdata"), (5, "NHA_OIF", "uint32"))


def read_links() -> list[Link]:
    """All interfaces of the calling thread's network namespace; raises UnavailableError."""
    return [link for message in _dump(ifinfmsg, RTM_GETLINK) if (link := link_of(message))]


def read_default_routes() -> list[Route]:
    """The unicast default routes of both families in all tables, whatever rule leads there; raises UnavailableError."""
    messages = [
        message
        for family in (socket.AF_INET, socket.AF_INET6)
        for message in _dump(RouteMessage, RTM_GETROUTE, family, wanted=_is_default)
    ]
    # A route usually says by itself where its nexthop object leads (net.ipv4.nexthop_compat_mode).
    nexthops = {} if all(_said(message) for message in messages) else _nexthops()
    return [_route(message, nexthops) for message in messages]


def link_of(message: nlmsg_base) -> Link | None:
    """The interface that a message is about; None where it is a bridge's view of its port."""
    if message["family"] != socket.AF_UNSPEC:
        return None
    information = message.get_attr("IFLA_LINKINFO")
    kind = (information and information.get_attr("IFLA_INFO_KIND")) or ""
    # A number of another namespace stands for nothing here.
    stacked = kind in STACKED and message.get_attr("IFLA_LINK_NETNSID") is None
    properties = message.get_attr("IFLA_PROP_LIST")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=kind,
        parent=(message.get_attr("IFLA_LINK") or 0) if stacked else 0,
        master=message.get_attr("IFLA_MASTER") or 0,
        hardware=message["ifi_type"],
        altnames=tuple(properties.get_attrs("IFLA_ALT_IFNAME")) if properties else (),
        up=bool(message["flags"] & 1),  # IFF_UP
    )


def link_in(data: memoryview) -> Link | None:
    """The interface that a whole RTM_NEWLINK or RTM_DELLINK, header included, is about."""
    return link_of(_decoded(ifinfmsg, data))


def messages(received: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    """Cut what a socket received into (type, flags, sequence number, the whole message)."""
    offset = 0
    while offset + HEADER.size <= len(received):
        length, kind, flags, sequence, _ = HEADER.unpack_from(received, offset)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, received[offset : offset + length]
        offset += -(-length // 4) * 4


def route_header(message: memoryview) -> tuple[int, int, int]:
    """Family, length of the destination and type, of a whole message about a route."""
    family, length, kind = _ROUTE.unpack_from(message, HEADER.size)
    return family, length, kind


def open_socket(flags: int = 0) -> socket.socket:
    """A socket to rtnetlink; raises UnavailableError."""
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags, socket.NETLINK_ROUTE)
    except OSError as error:
        raise UnavailableError(
            f"no netlink socket to learn of interfaces ({error.strerror})",
            "allow AF_NETLINK (RestrictAddressFamilies= in a unit)",
        ) from error
    made.bind((0, 0))
    return made


def _is_default(message: memoryview) -> bool:
    family, length, kind = route_header(message)
    return kind == RTN_UNICAST and is_default(family, length)


def _said(message: nlmsg_base) -> bool:
    return bool(message.get_attr("RTA_OIF") or message.get_attr("RTA_MULTIPATH"))


def _route(message: nlmsg_base, nexthops: dict[int, tuple[int, ...]]) -> Route:
    single = message.get_attr("RTA_OIF")
    several = [hop["oif"] for hop in message.get_attr("RTA_MULTIPATH") or ()]
    outgoing = (*([single] if single else []), *several) or nexthops.get(message.get_attr("RTA_NH_ID"), ())
    return Route(message["family"], message.get_attr("RTA_TABLE") or message["table"], outgoing)


def _nexthops() -> dict[int, tuple[int, ...]]:
    """The interfaces behind each nexthop object. A group has no groups in it."""
    single: dict[int, tuple[int, ...]] = {}
    groups: dict[int, list[int]] = {}
    for message in _dump(NexthopMessage, RTM_GETNEXTHOP):
        number, members = message.get_attr("NHA_ID"), message.get_attr("NHA_GROUP")
        if members:
            groups[number] = [member for (member,) in _MEMBER.iter_unpack(members)]
        elif interface := message.get_attr("NHA_OIF"):
            single[number] = (interface,)
    return single | {
        number: tuple(one for member in members for one in single.get(member, ())) for number, members in groups.items()
    }


def _decoded(kind: type[nlmsg_base], data: memoryview) -> nlmsg_base:
    message = kind(bytes(data))
    message.decode()
    return message


def _dump(
    message: type[nlmsg_base], kind: int, family: int = socket.AF_UNSPEC, *, wanted: Wanted | None = None
) -> list[nlmsg_base]:
    """All answers, or those that are wanted, decoded; asked again if something changed meanwhile."""
    with open_socket() as channel:
        for sequence in range(1, _INTERRUPTED_DUMPS + 1):
            question = message()
            question["family"] = family
            question["header"] = {"type": kind, "flags": _REQUEST | _DUMP, "sequence_number": sequence, "pid": 0}
            question.encode()
            channel.send(question.data)
            answers, whole = _answers(channel, sequence, wanted)
            if whole:
                return [_decoded(message, answer) for answer in answers]
    raise UnavailableError("interfaces or routes keep changing while they are read", "try again")


def _answers(channel: socket.socket, sequence: int, wanted: Wanted | None) -> tuple[list[memoryview], bool]:
    answers: list[memoryview] = []
    whole = True
    while True:
        for kind, flags, answered, message in messages(memoryview(channel.recv(_RECEIVE))):
            if answered != sequence:
                continue
            whole = whole and not flags & _DUMP_INTR
            if kind == _ERROR and (number := -struct.unpack_from("=i", message, HEADER.size)[0]):
                raise UnavailableError(
                    f"the kernel does not tell its interfaces and routes ({os.strerror(number)})", "see dmesg"
                )
            if kind in (_DONE, _ERROR):
                return answers, whole
            if wanted is None or wanted(message):
                answers.append(message)
