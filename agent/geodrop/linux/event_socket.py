# SPDX-License-Identifier: Apache-2.0
"""Receive the events of a netlink subsystem's multicast groups that pass a filter, without blocking."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Self

from geodrop.linux import netlink, socket_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.linux.netlink import Message

NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP = 1, 2  # linux/netlink.h


class EventSocket:
    """A netlink socket that is a member of multicast groups, in the network namespace of the calling thread.

    `to` completes the error message as in NetlinkSocket. `takes` is a filter: only messages that it accepts are queued.
    """

    def __init__(self, protocol: int, to: str, groups: Iterable[int], takes: Sequence[socket_filter.Line]) -> None:
        self._socket = netlink.open_socket(protocol, to, flags=socket.SOCK_NONBLOCK)
        try:
            socket_filter.attach(self._socket, takes)
            self._socket.bind((0, 0))
            for group in groups:
                self.join(group)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is an event to read."""
        return self._socket.fileno()

    def join(self, group: int) -> None:
        """Join a multicast group. May be called from any thread."""
        self._socket.setsockopt(netlink.SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def leave(self, group: int) -> None:
        """Leave a multicast group. May be called from any thread."""
        self._socket.setsockopt(netlink.SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, group)

    def received(self) -> Iterator[Message | None]:
        """Yield the messages received since the last call, and None where the queue overflowed and messages were lost.

        After None the caller must read the whole state that the messages describe again.
        """
        while True:
            try:
                told = self._socket.recv(netlink.RECEIVE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
            else:
                yield from netlink.messages(memoryview(told))
