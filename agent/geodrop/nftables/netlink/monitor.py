"""Changes that others make to nf_tables, told by the kernel, with who made them.

Every commit ends with one NFT_MSG_NEWGEN to the group NFNLGRP_NFTABLES, which names the process. A filter in the kernel
lets only those through, and none of our own: a listener without one receives every element of every set, which slows
loads down several times and then overflows.

Sources: linux/netfilter/nf_tables.h (NFTA_GEN_*), linux/netfilter/nfnetlink.h, netlink(7).
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.errors import Excused, GeodropError
from geodrop.linux import socket_filter
from geodrop.linux.event_socket import EventSocket
from geodrop.nftables.netlink import messages, uapi, wire
from geodrop.nftables.netlink.connection import OWN_PORTS, OWN_PORTS_MASK, Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

NEWGEN = uapi.NFNL_SUBSYS_NFTABLES << 8 | uapi.Message.NEWGEN
_TYPE_AT, _PORT_AT = 4, 12  # in struct nlmsghdr


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: the process that made it, by number and name (as `comm`, 15 bytes). 0 and "": events were lost.

    `user` is whose process it is, by number; None if it has ended before that could be asked.
    """

    process: int = 0
    name: str = ""
    user: int | None = None

    @property
    def culprit(self) -> str:
        """For people."""
        user = "" if self.user is None else f", user {self.user}"
        return f"{self.name} (process {self.process}{user})" if self.process else "somebody"


_listening: set[CommitMonitor] = set()
"""Listeners of this process."""


def last_commit(connection: Connection) -> int:
    """The number of the last transaction in the network namespace, whoever made it."""
    [answer] = connection.ask([messages.get_generation()])
    return messages.read_generation(answer) if answer is not None else 0


def foreign_commits(connection: Connection) -> int:
    """By how much the kernel's count of commits is ahead of this process's own: the same twice means that nobody else
    has committed anything in between.
    """
    return (last_commit(connection) - Connection.committed) % (1 << 32)


def _others_committed(connection: Connection, before: int) -> bool:
    """Whether anybody else has since `foreign_commits` was this, or may have."""
    try:
        return foreign_commits(connection) != before
    except GeodropError:
        return True


@contextmanager
def muted(connection: Connection) -> Iterator[None]:
    """Fill without listening: for whoever is in the group the kernel writes a message for each element, whatever a
    filter does to it then, and a fill takes half as long again. Whoever left is told afterwards that something may have
    happened, unless the kernel has counted no commit but those of this process.
    """
    left = list(_listening)
    if not left:
        yield
        return
    before = foreign_commits(connection)
    # EBADF: one was closed meanwhile.
    for listener in left:
        with Excused(errno.EBADF):
            listener.mute()
    try:
        yield
    finally:
        for listener in left:
            with Excused(errno.EBADF):
                listener.unmute()
        if _others_committed(connection, before):
            for listener in left:
                with Excused(errno.EBADF):
                    listener.miss()


class CommitMonitor(EventSocket):
    """Foreign commits in the network namespace of the calling thread, from now on. Never blocks."""

    def __init__(self) -> None:
        super().__init__(uapi.NETLINK_NETFILTER, "nf_tables", [uapi.NFNLGRP_NFTABLES], _only_foreign_commits())
        self._missed = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._either = select.epoll()
        for source in (self._socket.fileno(), self._missed):
            self._either.register(source, select.EPOLLIN)
        _listening.add(self)

    def close(self) -> None:
        """Stop listening."""
        _listening.discard(self)
        self._either.close()
        super().close()
        os.close(self._missed)

    def fileno(self) -> int:
        """Readable when there is something to read."""
        return self._either.fileno()

    def mute(self) -> None:
        """Hear nothing until `unmute`. From any thread."""
        self.leave(uapi.NFNLGRP_NFTABLES)

    def unmute(self) -> None:
        """Hear again. From any thread."""
        self.join(uapi.NFNLGRP_NFTABLES)

    def miss(self) -> None:
        """Be told of a nameless change: something happened while nobody heard. From any thread."""
        os.eventfd_write(self._missed, 1)

    def read(self) -> list[Commit]:
        """What has happened since the last call; a nameless change when the kernel could not tell all of it."""
        changes: list[Commit] = []
        with suppress(BlockingIOError):
            os.eventfd_read(self._missed)
            changes.append(Commit())
        for told in self.received():
            if told is None:
                changes.append(Commit())
            elif told[0] == NEWGEN:
                changes.append(_change(told[3]))
        return changes


def _change(message: memoryview) -> Commit:
    found = wire.parse(message[wire.BODY :])
    process = found.get(uapi.GenerationAttribute.PROC_PID)
    name = found.get(uapi.GenerationAttribute.PROC_NAME)
    return _made_by(int.from_bytes(process or b"", "big"), wire.text(name) if name else "")


def _made_by(process: int, name: str) -> Commit:
    """With the user, where the process is still there and has the same name: numbers are given out again."""
    folder = Path(f"/proc/{process}")
    try:
        user = folder.stat().st_uid
        there = (folder / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return Commit(process, name)
    return Commit(process, name, user if there == name else None)


def _only_foreign_commits() -> list[socket_filter.Line]:
    """Classic BPF: the message is an NFT_MSG_NEWGEN, and its port none of `netlink.connection.Connection`'s.

    Loads are big-endian, message headers are in the machine's byte order: constants are turned round to match.
    """
    return [
        (socket_filter.LOAD_HALF, 0, 0, _TYPE_AT),
        (socket_filter.JUMP_EQUAL, 0, 4, socket_filter.half(NEWGEN)),
        (socket_filter.LOAD_WORD, 0, 0, _PORT_AT),
        (socket_filter.AND, 0, 0, socket_filter.word(OWN_PORTS_MASK)),
        (socket_filter.JUMP_EQUAL, 1, 0, socket_filter.word(OWN_PORTS)),
        socket_filter.TAKE,
        socket_filter.LEAVE,
    ]
