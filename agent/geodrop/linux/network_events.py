# SPDX-License-Identifier: Apache-2.0
"""Changes of interfaces and default routes: each may change which interfaces must be judged."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.errors import UnavailableError
from geodrop.linux import rtnl, socket_filter
from geodrop.linux.event_socket import EventSocket
from geodrop.linux.network import LONGEST_DEFAULT, is_default
from geodrop.linux.pyroute2_messages import RTM_DELLINK, RTM_DELROUTE, RTM_NEWLINK, RTM_NEWROUTE

if TYPE_CHECKING:
    from geodrop.linux.network import Link

GROUPS = (1, 7, 11, 32)
"""RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP."""

COMPATIBLE = Path("/proc/sys/net/ipv4/nexthop_compat_mode")
"""Whether the kernel reports a change of a nexthop object as a change of the routes that use it."""

_TYPE_AT, _DESTINATION_LENGTH_AT = 4, 17
_NEXTHOPS = (rtnl.RTM_NEWNEXTHOP, rtnl.RTM_DELNEXTHOP)


class NetworkEvents(EventSocket):
    """Changes in the calling thread's network namespace since this object was made. No method blocks.

    Routing rules are left out, since the default routes of every table count. Addresses are left out, since nothing
    depends on them. A filter in the kernel leaves out other routes, of which a router may have a million.
    """

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE, rtnl.TO, GROUPS, _wanted())
        try:
            # The socket already listens, so no change after this read is missed.
            self._known = _links()
        except BaseException:
            self.close()
            raise

    def read(self) -> bool:
        """Return whether an interface or a default route changed since the last call.

        An interface changes if it comes, goes, is renamed or becomes a port. The answer is True as well when events
        were lost: then all interfaces are read again. Other events, such as carrier, are ignored.
        """
        changed = False
        for told in self.received():
            if told:
                kind, _, _, message = told
                changed = self._is_news(kind, message) or changed
                continue
            # If the interfaces change too fast to be read, the next event of every interface counts as a change.
            self._known = {}
            with suppress(UnavailableError):
                self._known = _links()
            changed = True
        return changed

    def _is_news(self, kind: int, message: memoryview) -> bool:
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            family, length, _ = rtnl.route_header(message)
            return is_default(family, length)
        if kind in _NEXTHOPS:
            return not _told_as_routes()
        link = rtnl.link_in(message)
        if link is None:
            return False
        if kind == RTM_DELLINK:
            return self._known.pop(link.index, None) is not None
        link = _that_counts(link)
        before, self._known[link.index] = self._known.get(link.index), link
        return before != link


def _links() -> dict[int, Link]:
    return {link.index: _that_counts(link) for link in rtnl.read_links()}


def _that_counts(link: Link) -> Link:
    """Blank the fields that do not decide which interfaces are judged: whether it is up, its MTU and its program."""
    return replace(link, up=True, mtu=0, program=0)


def _told_as_routes() -> bool:
    try:
        return COMPATIBLE.read_text(encoding="ascii").strip() != "0"
    except FileNotFoundError:
        return False


def _wanted() -> list[socket_filter.Line]:
    """Accept messages about a link, a nexthop, or a route whose destination prefix is short enough for a default."""
    kinds = (RTM_NEWLINK, RTM_DELLINK, *_NEXTHOPS)
    equal = [
        (socket_filter.JUMP_EQUAL, len(kinds) - number + 1, 0, socket_filter.half(kind))
        for number, kind in enumerate(kinds)
    ]
    return [
        (socket_filter.LOAD_HALF, 0, 0, _TYPE_AT),
        *equal,
        (socket_filter.LOAD_BYTE, 0, 0, _DESTINATION_LENGTH_AT),
        (socket_filter.JUMP_GREATER, 1, 0, max(LONGEST_DEFAULT.values())),
        socket_filter.TAKE,
        socket_filter.LEAVE,
    ]
