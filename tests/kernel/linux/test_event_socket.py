# SPDX-License-Identifier: Apache-2.0
"""A group's events are read without blocking, and a loss is told apart from silence."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from geodrop.linux import socket_filter
from geodrop.linux.event_socket import EventSocket

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace

RTNLGRP_LINK = 1
RTM_NEWLINK, RTM_DELLINK = 16, 17


def kinds(events: EventSocket) -> list[int | None]:
    """Return the types of the messages received; None for a loss."""
    return [told and told[0] for told in events.received()]


def test_only_what_the_filter_takes_comes(netns: Namespace) -> None:
    """Events arrive only while the socket is in the group, and end when it is closed."""
    code = [
        (socket_filter.LOAD_HALF, 0, 0, 4),
        (socket_filter.JUMP_EQUAL, 0, 1, socket_filter.half(RTM_DELLINK)),
        socket_filter.TAKE,
        socket_filter.LEAVE,
    ]
    with EventSocket(socket.NETLINK_ROUTE, "try it", [RTNLGRP_LINK], code) as events:
        assert kinds(events) == []
        netns.run("ip", "link", "add", "br0", "type", "bridge")
        assert kinds(events) == []
        netns.run("ip", "link", "delete", "br0")
        assert set(kinds(events)) == {RTM_DELLINK}
        events.leave(RTNLGRP_LINK)
        netns.run("ip", "link", "add", "br0", "type", "bridge")
        netns.run("ip", "link", "delete", "br0")
        assert kinds(events) == []
        events.join(RTNLGRP_LINK)
        netns.run("ip", "link", "add", "br0", "type", "bridge")
        netns.run("ip", "link", "delete", "br0")
        assert set(kinds(events)) == {RTM_DELLINK}
    assert events.fileno() == -1


def test_a_loss_is_told(netns: Namespace) -> None:
    """An overflow (ENOBUFS) gives one None among the messages; afterwards events arrive as before."""
    with EventSocket(socket.NETLINK_ROUTE, "try it", [RTNLGRP_LINK], [socket_filter.TAKE]) as events:
        events._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least
        for number in range(30):
            netns.run("ip", "link", "add", f"br{number}", "type", "bridge")
        told = kinds(events)
        assert None in told
        assert set(told) - {None} <= {RTM_NEWLINK}
        events._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        netns.run("ip", "link", "delete", "br0")
        told = kinds(events)
        assert None not in told
        assert RTM_DELLINK in told
