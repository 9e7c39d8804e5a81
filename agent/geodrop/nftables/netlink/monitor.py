# SPDX-License-Identifier: Apache-2.0
"""Commits of other programs to nf_tables, as the kernel reports them, with the process that made each.

Every commit ends with one NFT_MSG_NEWGEN to the group NFNLGRP_NFTABLES, which names the process. A filter in the kernel
passes only these messages, and none of our own. Without the filter a listener would receive every element of every set,
which makes loads several times slower and then overflows.

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
    """One commit: the process that made it, by id and name (as `comm`, 15 bytes). 0 and "" mean that events were lost.

    `user` is the uid of the process; None if the process ended before it could be read.
    """

    process: int = 0
    name: str = ""
    user: int | None = None

    @property
    def culprit(self) -> str:
        """The process for messages: name, id and uid, or "an unknown process"."""
        user = "" if self.user is None else f", user {self.user}"
        return f"{self.name} (process {self.process}{user})" if self.process else "an unknown process"


_listening: set[CommitMonitor] = set()
"""All monitors of this process."""


def last_commit(connection: Connection) -> int:
    """Return the number of the last transaction of any program in the network namespace."""
    [answer] = connection.ask([messages.get_generation()])
    return messages.read_generation(answer) if answer is not None else 0


def foreign_commits(connection: Connection) -> int:
    """Return the kernel's count of commits minus this process's own.

    If two calls return the same number, no other process has committed in between.
    """
    return (last_commit(connection) - Connection.committed) % (1 << 32)


def _others_committed(connection: Connection, before: int) -> bool:
    """Whether another process has committed since `foreign_commits` returned `before`, or may have."""
    try:
        return foreign_commits(connection) != before
    except GeodropError:
        return True


@contextmanager
def muted(connection: Connection) -> Iterator[None]:
    """Mute all monitors of this process for the `with` block, in which sets are filled.

    While a socket is in the group, the kernel writes a message for each element, before any filter, and a fill takes
    half as long again. Afterwards each muted monitor reports a nameless change, unless the kernel has counted only
    commits of this process.
    """
    left = list(_listening)
    if not left:
        yield
        return
    before = foreign_commits(connection)
    # EBADF: a monitor was closed meanwhile.
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
    """Foreign commits in the network namespace of the calling thread, since this object was made.

    No method blocks.
    """

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
        """Return a descriptor that is readable when there is something to read."""
        return self._either.fileno()

    def mute(self) -> None:
        """Receive no events until `unmute`. May be called from any thread."""
        self.leave(uapi.NFNLGRP_NFTABLES)

    def unmute(self) -> None:
        """Receive events again. May be called from any thread."""
        self.join(uapi.NFNLGRP_NFTABLES)

    def miss(self) -> None:
        """Have `read` report a nameless change: one may have happened while muted. May be called from any thread."""
        os.eventfd_write(self._missed, 1)

    def read(self) -> list[Commit]:
        """Return the commits since the last call, and a nameless one where events were lost or muted."""
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
    """Return the commit, with the uid if the process still runs under the same name: process ids are reused."""
    folder = Path(f"/proc/{process}")
    try:
        user = folder.stat().st_uid
        there = (folder / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return Commit(process, name)
    return Commit(process, name, user if there == name else None)


def _only_foreign_commits() -> list[socket_filter.Line]:
    """Classic BPF: accept an NFT_MSG_NEWGEN whose port is none of `netlink.connection.Connection`'s.

    Loads are big-endian, message headers are in the host's byte order: constants are swapped to match.
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
