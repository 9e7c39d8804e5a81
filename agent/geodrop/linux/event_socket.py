"""What the kernel tells the groups of a netlink subsystem, as far as a filter takes it, without ever blocking."""

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
    """A member of some groups, in the network namespace of the calling thread; `to` is as for NetlinkSocket.

    Only messages that the code `takes` are queued.
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
        """Readable when there is something to read."""
        return self._socket.fileno()

    def join(self, group: int) -> None:
        """Be told what a group is told. From any thread."""
        self._socket.setsockopt(netlink.SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def leave(self, group: int) -> None:
        """Be told no longer. From any thread."""
        self._socket.setsockopt(netlink.SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, group)

    def received(self) -> Iterator[Message | None]:
        """What was told since the last call; None where the queue overflowed, so that messages were lost there.

        Whoever gets None reads again all that the messages are about.
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
