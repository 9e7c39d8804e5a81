"""Interfaces and default routes, as rtnetlink tells them. pyroute2 knows the messages; the socket is our own.

Not its IPRoute: that takes a dump for whole which changed while it was read (NLM_F_DUMP_INTR), and runs an event loop
of its own, which cannot be started where the daemon's runs. Of a router's million routes only the headers are read:
pyroute2 decodes those that are default routes.
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
"""What sockets to rtnetlink are for, to people."""

STACKED = frozenset({"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"})
"""Kinds whose frames come in by another interface (IFLA_LINK). A veth's IFLA_LINK is its peer."""

RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106  # linux/rtnetlink.h; pyroute2 0.9.7 has none of them
RTN_UNICAST = 1
RTA_NH_ID = 30

_ROUTE = struct.Struct("=BB5xB")
"""Of struct rtmsg: family, length of the destination, and, after what does not matter here, the type."""
_MEMBER = struct.Struct("=I4x")
"""struct nexthop_grp: a nexthop's number, and its weight."""


class RouteMessage(rtmsg_base, nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A route that may name a nexthop object, which pyroute2 0.9.7 leaves out.

    It is made of what its rtmsg is made of, and not of rtmsg: a class that was used hands its table of attributes down,
    and a class derived from it would never make its own.
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
        mtu=message.get_attr("IFLA_MTU") or 0,
        program=_program(message.get_attr("IFLA_XDP")),
    )


def link_in(data: memoryview) -> Link | None:
    """The interface that a whole RTM_NEWLINK or RTM_DELLINK, header included, is about."""
    return link_of(_decoded(ifinfmsg, data))


def route_header(message: memoryview) -> tuple[int, int, int]:
    """Family, length of the destination and type, of a whole message about a route."""
    family, length, kind = _ROUTE.unpack_from(message, netlink.HEADER.size)
    return family, length, kind


def request(message: nlmsg_base, kind: int, flags: int) -> netlink.Encode:
    """How to encode a message of pyroute2's as a request of a type, once its sequence number is known."""

    def encode(sequence: int) -> bytes:
        header = {"type": kind, "flags": netlink.REQUEST | flags, "sequence_number": sequence, "pid": 0}
        message["header"] = header
        message.reset()
        message.encode()
        return bytes(message.data)

    return encode


def _program(xdp: nlmsg_base | None) -> int:
    """Natively and generically there may be one each; then the kernel names no program of the whole interface."""
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
    message: type[nlmsg_base],
    kind: int,
    family: int = socket.AF_UNSPEC,
    *,
    wanted: Callable[[memoryview], bool] | None = None,
) -> list[nlmsg_base]:
    """All answers, or those that are wanted, decoded."""
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
