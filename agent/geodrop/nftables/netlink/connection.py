# SPDX-License-Identifier: Apache-2.0
"""The socket to nf_tables: transactions, dumps and single requests.

A transaction is one sendmsg: nfnetlink runs all its messages, commits or aborts, and queues its answers before sendmsg
returns. So nothing is left to wait for afterwards, and a transaction is never half in force.
"""

from __future__ import annotations

import errno
import functools
import os
import queue
import socket
import threading
from typing import TYPE_CHECKING, ClassVar, Self

from geodrop.errors import ApplyError, PrivilegeError, UnavailableError
from geodrop.linux import netlink
from geodrop.linux.netlink import NetlinkError, NetlinkSocket
from geodrop.nftables.netlink import uapi, wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.nftables.netlink.wire import NetlinkRequest

SEND_BUFFER = 64 << 20
"""Bytes; an upper bound, memory is allocated only as it is used. The kernel doubles it for its own overhead."""

OWN_PORTS = 0x6764_0000
OWN_PORTS_MASK = 0xFFFF_0000
"""Our sockets bind to port numbers in this range, so that a listener can tell our commits from foreign ones. By itself
the kernel assigns process ids, which are below this range, and then negative numbers."""

_PIECE = 64 << 10
_PORTS_TRIED = 100
_GETTING_NEXT_STEP = "load the module: modprobe nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET)"


class RefusedError(ApplyError):
    """The kernel refused a request; the transaction that holds the request changed nothing."""

    def __init__(self, number: int, what: str, detail: str = "") -> None:
        reason = os.strerror(number) + (f": {detail}" if detail else "")
        # A load names only objects that it makes, so ENOENT means that a part of nf_tables is missing.
        step = "see which part of nf_tables this kernel lacks: geodrop doctor" if number == errno.ENOENT else ""
        super().__init__(f"the kernel refused to {what} ({errno.errorcode.get(number, number)}, {reason})", step)
        self.errno = number


class Connection:
    """A netlink socket in the network namespace of the calling thread.

    All methods raise UnavailableError if the kernel has no nf_tables, PrivilegeError without CAP_NET_ADMIN, and
    RefusedError for any other refusal. `capacity` is the largest transaction in bytes, `committed` the number of
    transactions that this process has committed.
    """

    committed: ClassVar[int] = 0

    def __init__(self) -> None:
        self._kernel = NetlinkSocket(
            uapi.NETLINK_NETFILTER, "nf_tables", f"{_GETTING_NEXT_STEP}, and {netlink.ALLOW_NETLINK}", _prepare
        )
        self.capacity = self._kernel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _closer().put(self._kernel)

    def transaction(self, requests: Iterable[NetlinkRequest]) -> None:
        """Commit all requests as one transaction, or none. `requests` may be a generator: their bodies are not kept."""
        first = self._kernel.take(1)
        whats: list[str] = []
        pieces, pending, size = [], [wire.batch(uapi.NFNL_MSG_BATCH_BEGIN, first)], 0
        waiting: NetlinkRequest | None = None
        for request in requests:
            if waiting:
                pending.append(waiting.encode(self._kernel.take(1)))
                whats.append(waiting.what)
                size += len(pending[-1])
                if size >= _PIECE:
                    pieces.append(b"".join(pending))
                    pending, size = [], 0
            waiting = request
        if not waiting:
            return
        # Only the last request asks for an acknowledgement: it, and the absence of errors, means that all committed.
        pending.append(waiting.encode(self._kernel.take(1), acknowledge=True))
        whats.append(waiting.what)
        pending.append(wire.batch(uapi.NFNL_MSG_BATCH_END, self._kernel.take(1)))
        pieces.append(b"".join(pending))
        self._send(pieces, whats[0])
        self._check(first, whats)
        Connection.committed += 1

    def dump(self, request: NetlinkRequest) -> list[memoryview]:
        """Return the answers to a dump, without headers.

        The dump is repeated from the start if the kernel's ruleset changed meanwhile.
        """
        try:
            return [answer[wire.BODY :] for answer in self._kernel.dump(request.encode)]
        except OSError as error:
            if error.errno == errno.EINTR:
                changing = "another program keeps changing nftables rules"
                raise RefusedError(errno.EINTR, request.what, changing) from error
            raise _failure(error, request.what) from error

    def ask(self, requests: Sequence[NetlinkRequest]) -> list[memoryview | None]:
        """Return the answers to single requests in order, without headers; None for an object that is missing."""
        try:
            answers = self._kernel.ask([request.encode for request in requests])
        except OSError as error:
            raise _failure(error, requests[0].what) from error
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, NetlinkError) and answer.errno != errno.ENOENT:
                raise _failure(answer, request.what)
        return [answer[wire.BODY :] if isinstance(answer, memoryview) else None for answer in answers]

    def _send(self, pieces: Sequence[bytes], what: str) -> None:
        try:
            self._kernel.socket.sendmsg(pieces)
        except OSError as error:
            raise _failure(error, what, "raise net.core.wmem_max" if error.errno == errno.EMSGSIZE else "") from error

    def _check(self, first: int, whats: Sequence[str]) -> None:
        """Read the answers to a transaction. The first error is the cause, the others mostly follow from it.

        `first` is the sequence number of its beginning, `whats` what each request is for.
        """
        acknowledged = False
        failure: ApplyError | PrivilegeError | UnavailableError | None = None
        for received in self._queued(whats[0]):
            for kind, flags, sequence, message in netlink.messages(received):
                if kind != netlink.NLMSG_ERROR or not first <= sequence <= first + len(whats):
                    continue
                position = sequence - first - 1
                if error := netlink.refusal(kind, flags, message):
                    # An error of the commit as a whole carries the sequence number of the batch's beginning.
                    failure = failure or _failure(error, whats[position] if position >= 0 else "commit")
                elif position == len(whats) - 1:
                    acknowledged = True
        if failure:
            raise failure
        if not acknowledged:
            raise RefusedError(errno.EIO, whats[0], "no answer")

    def _queued(self, what: str) -> Iterator[memoryview]:
        """Yield everything in the queue, also after an overflow (ENOBUFS).

        Messages left in the queue would leave no room for the next answer, and the caller would wait for it for ever.
        """
        while True:
            try:
                yield self._kernel.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise _failure(error, what) from error


@functools.cache
def _closer() -> queue.SimpleQueue[NetlinkSocket]:
    """Return a queue whose sockets a thread of its own closes.

    Before it closes a socket, the kernel frees everything that transactions have deleted. That takes 20 ms, for which
    the caller need not wait.
    """
    sockets: queue.SimpleQueue[NetlinkSocket] = queue.SimpleQueue()

    def close() -> None:
        while True:
            sockets.get().close()

    threading.Thread(target=close, name="closer", daemon=True).start()
    return sockets


def _prepare(opened: socket.socket) -> None:
    """Bind a socket to one of our ports, and give it room for the largest transaction."""
    _bind(opened)
    try:
        opened.setsockopt(socket.SOL_SOCKET, uapi.SO_SNDBUFFORCE, SEND_BUFFER)
    except PermissionError:
        # In a user namespace the buffer is limited to net.core.wmem_max.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def _bind(opened: socket.socket) -> None:
    for _ in range(_PORTS_TRIED):
        try:
            return opened.bind((OWN_PORTS | int.from_bytes(os.urandom(2), "little"), 0))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise UnavailableError("no port is free for a netlink socket", "end the geodrop processes that hold them")


def _failure(error: OSError, what: str, detail: str = "") -> RefusedError | PrivilegeError | UnavailableError:
    """Return the exception for a failed request; `detail` replaces the kernel's own error text."""
    number = error.errno or errno.EIO
    if number in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(
            f"the kernel refused to {what}: CAP_NET_ADMIN is missing in this network namespace",
            "run it as root, or give the unit AmbientCapabilities=CAP_NET_ADMIN",
        )
    if number in {errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}:
        return UnavailableError(f"this kernel cannot {what} ({os.strerror(number)})", _GETTING_NEXT_STEP)
    return RefusedError(number, what, detail or (error.detail if isinstance(error, NetlinkError) else ""))
