# SPDX-License-Identifier: Apache-2.0
"""Read interfaces and default routes by rtnetlink. pyroute2 encodes and decodes the messages; the socket is our own.

pyroute2's IPRoute is not used: it accepts a dump that changed while it was read (NLM_F_DUMP_INTR), and it runs its own
event loop, which cannot start inside the daemon's. Of a router's million routes only the headers are read: pyroute2
decodes only the default routes.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

from geodrop.errors import UnavailableError
from geodrop.linux import netlink
from geodrop.linux.network import Link, Route, is_default
from geodrop.linux.pyroute2_messages import RTM_GETLINK, RTM_GETROUTE, ifinfmsg, nlmsg, rtmsg_base

if TYPE_CHECKING:
    from collections.abc import Callable

    from geodrop.linux.pyroute2_messages import nlmsg_base

TO = "learn of interfaces"
"""What a socket to rtnetlink is for, in error messages."""

STACKED = frozenset({"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"})
"""Kinds of interface whose frames arrive on another interface (IFLA_LINK). A veth's IFLA_LINK is its peer instead."""

RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106  # linux/rtnetlink.h; pyroute2 0.9.7 has none of them
RTN_UNICAST = 1
RTA_NH_ID = 30

_ROUTE = struct.Struct("=BB5xB")
"""From struct rtmsg: family, destination prefix length, and, after five bytes that do not matter here, the type."""
_MEMBER = struct.Struct("=I4x")
"""struct nexthop_grp: a nexthop's id; its weight is skipped."""


class RouteMessage(rtmsg_base, nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A route that may name a nexthop object, an attribute that pyroute2 0.9.7 lacks.

    It derives from the bases of pyroute2's rtmsg, not from rtmsg itself: a message class that was used passes its
    compiled attribute table on to derived classes, which then never compile their own.
    """

    nla_map = (
        *((number, *entry) for number, entry in enumerate(rtmsg_base.nla_map)),
        (RTA_NH_ID, "RTA_NH_ID", "uint32"),
    )


class NexthopMessage(nlmsg):  # type: ignore[misc]  # as above
    """struct nhmsg and its attributes (linux/nexthop.h)."""

    prefix = "NHA_"
    fields = (("family", "B"), ("scope", "B"), ("protocol", "B"), ("resvd", "B"), ("flags", "I"))
    nla_map = ((1, "NHA_ID", "uint32"), (2, "NHA_GROUP", "cdata"), (5, "NHA_OIF", "uint32"))


def read_links() -> list[Link]:
    """Read all interfaces of the calling thread's network namespace; raises UnavailableError."""
    return [link for message in _dump(ifinfmsg, RTM_GETLINK) if (link := link_of(message))]


def read_default_routes() -> list[Route]:
    """Read the unicast default routes of both families in all tables; raises UnavailableError.

    Routing rules are not considered.
    """
    messages = [
        message
        for family in (socket.AF_INET, socket.AF_INET6)
        for message in _dump(RouteMessage, RTM_GETROUTE, family, wanted=_is_default)
    ]
    # A route usually repeats the interfaces of its nexthop object (net.ipv4.nexthop_compat_mode).
    nexthops = {} if all(_said(message) for message in messages) else _nexthops()
    return [_route(message, nexthops) for message in messages]


def link_of(message: nlmsg_base) -> Link | None:
    """Return the interface that a message describes; None if the message is a bridge's view of its port."""
    if message["family"] != socket.AF_UNSPEC:
        return None
    information = message.get_attr("IFLA_LINKINFO")
    kind = (information and information.get_attr("IFLA_INFO_KIND")) or ""
    # An index in another namespace has no meaning here.
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
        mtu=message.get_attr("IFLA_MTU") or 0,
        program=_program(message.get_attr("IFLA_XDP")),
    )


def link_in(data: memoryview) -> Link | None:
    """Return the interface that a whole RTM_NEWLINK or RTM_DELLINK, header included, describes; None as in link_of."""
    return link_of(_decoded(ifinfmsg, data))


def route_header(message: memoryview) -> tuple[int, int, int]:
    """Return family, destination prefix length in bits and type from a whole route message, header included."""
    family, length, kind = _ROUTE.unpack_from(message, netlink.HEADER.size)
    return family, length, kind


def request(message: nlmsg_base, kind: int, flags: int) -> netlink.Encode:
    """Return a function that encodes a pyroute2 message as a request of type `kind` with a given sequence number."""

    def encode(sequence: int) -> bytes:
        header = {"type": kind, "flags": netlink.REQUEST | flags, "sequence_number": sequence, "pid": 0}
        message["header"] = header
        message.reset()
        message.encode()
        return bytes(message.data)

    return encode


def _program(xdp: nlmsg_base | None) -> int:
    """Return the id of the first program found. An interface may have one per attach mode.

    With more than one, the kernel does not set IFLA_XDP_PROG_ID.
    """
    names = ("IFLA_XDP_PROG_ID", "IFLA_XDP_DRV_PROG_ID", "IFLA_XDP_SKB_PROG_ID", "IFLA_XDP_HW_PROG_ID")
    return next((number for name in names if xdp and (number := xdp.get_attr(name))), 0)


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
    """Read the interfaces behind each nexthop object, by its id. A group never contains a group."""
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
    message: type[nlmsg_base],
    kind: int,
    family: int = socket.AF_UNSPEC,
    *,
    wanted: Callable[[memoryview], bool] | None = None,
) -> list[nlmsg_base]:
    """Dump and decode all answers, or those whose raw message `wanted` accepts."""
    question = message()
    question["family"] = family
    with netlink.NetlinkSocket(socket.NETLINK_ROUTE, TO) as kernel:
        try:
            answers = kernel.dump(request(question, kind, netlink.DUMP), wanted)
        except OSError as error:
            if error.errno == errno.EINTR:
                raise UnavailableError("interfaces or routes keep changing while they are read", "try again") from error
            raise UnavailableError(
                f"the kernel does not tell its interfaces and routes ({error.strerror})", "see dmesg"
            ) from error
    return [_decoded(message, answer) for answer in answers]
