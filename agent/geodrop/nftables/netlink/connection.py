"""The socket to nf_tables: transactions, dumps and single questions.

A transaction is one sendmsg: nfnetlink runs all its messages, commits or aborts, and queues its answers before sendmsg
returns. So there is nothing to wait for afterwards, and no moment at which half of it is in force.
"""

from __future__ import annotations

import errno
import functools
import os
import queue
import socket
import struct
import threading
from typing import TYPE_CHECKING, ClassVar, Self

from geodrop.errors import ApplyError, PrivilegeError, UnavailableError
from geodrop.nftables.netlink import uapi, wire
from geodrop.nftables.netlink.uapi import Flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.nftables.netlink.wire import NetlinkRequest

SEND_BUFFER = 64 << 20
"""Bytes; a bound, no memory is taken before it is used. The kernel doubles it for its own overhead."""

OWN_PORTS = 0x6764_0000
OWN_PORTS_MASK = 0xFFFF_0000
"""Our sockets take port numbers of this range, so that a listener can tell our commits from those of others. Process
numbers, which the kernel takes by itself, end below it, and the others that it takes are negative."""

_RECEIVE = 64 << 10  # the kernel fills at most 32 KB a message of a dump
_PIECE = 64 << 10
_PORTS_TRIED = 100
_QUESTIONS_AT_ONCE = 64  # their answers must fit the receive buffer, 208 KB by default
_INTERRUPTED_DUMPS = 10
_ERROR = struct.Struct("=i")
_GETTING_NEXT_STEP = "load the module: modprobe nf_tables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET)"


class RefusedError(ApplyError):
    """The kernel refused a request; a transaction that holds it changed nothing."""

    def __init__(self, number: int, what: str, detail: str = "") -> None:
        reason = os.strerror(number) + (f": {detail}" if detail else "")
        # What a load names it makes itself, so what is not there is a part of nf_tables.
        step = "see which part of nf_tables this kernel lacks: geodrop doctor" if number == errno.ENOENT else ""
        super().__init__(f"the kernel refused to {what} ({errno.errorcode.get(number, number)}, {reason})", step)
        self.errno = number


class Connection:
    """A netlink socket in the network namespace of the calling thread.

    Raises UnavailableError where there is no nf_tables, PrivilegeError without CAP_NET_ADMIN, and RefusedError for
    everything else. `capacity` is the largest transaction in bytes, `committed` how many this process has made.
    """

    committed: ClassVar[int] = 0

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, uapi.NETLINK_NETFILTER)
        except OSError as error:
            # Opening it takes no privilege: a refusal means no nfnetlink, or a filter on system calls.
            raise UnavailableError(
                f"no netlink socket to nf_tables ({error.strerror})",
                f"{_GETTING_NEXT_STEP}, and allow AF_NETLINK (RestrictAddressFamilies= in a unit)",
            ) from error
        self._sequence = 0
        self._bind()
        self._socket.setsockopt(uapi.SOL_NETLINK, uapi.NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(uapi.SOL_NETLINK, uapi.NETLINK_CAP_ACK, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, uapi.SO_SNDBUFFORCE, SEND_BUFFER)
        except PermissionError:
            # In a user namespace: as much as net.core.wmem_max allows.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.capacity = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _closer().put(self._socket)

    def transaction(self, requests: Iterable[NetlinkRequest]) -> None:
        """Do all of it or nothing. `requests` may be a generator: their bodies are not kept."""
        first = self._take(1)
        whats: list[str] = []
        pieces, pending, size = [], [wire.batch(uapi.NFNL_MSG_BATCH_BEGIN, first)], 0
        waiting: NetlinkRequest | None = None
        for request in requests:
            if waiting:
                pending.append(waiting.encode(self._take(1)))
                whats.append(waiting.what)
                size += len(pending[-1])
                if size >= _PIECE:
                    pieces.append(b"".join(pending))
                    pending, size = [], 0
            waiting = request
        if not waiting:
            return
        # Only the last is acknowledged: that answer, and none that is an error, says that all was committed.
        pending.append(waiting.encode(self._take(1), acknowledge=True))
        whats.append(waiting.what)
        pending.append(wire.batch(uapi.NFNL_MSG_BATCH_END, self._take(1)))
        pieces.append(b"".join(pending))
        self._send(pieces, whats[0])
        self._check(first, whats)
        Connection.committed += 1

    def dump(self, request: NetlinkRequest) -> list[memoryview]:
        """The answers to a dump, without headers. Repeated from the start if the kernel's ruleset changed meanwhile."""
        for _ in range(_INTERRUPTED_DUMPS):
            answers, whole = self._dump_once(request)
            if whole:
                return answers
        raise RefusedError(errno.EINTR, request.what, "somebody keeps changing nftables rules")

    def ask(self, requests: Sequence[NetlinkRequest]) -> list[memoryview | None]:
        """Single questions, answered in order; None for what does not exist."""
        answers: list[memoryview | None] = []
        for start in range(0, len(requests), _QUESTIONS_AT_ONCE):
            some = requests[start : start + _QUESTIONS_AT_ONCE]
            first = self._take(len(some))
            self._send([b"".join(request.encode(first + i) for i, request in enumerate(some))], some[0].what)
            found: list[memoryview | None] = [None] * len(some)
            open_questions = len(some)
            while open_questions:
                for kind, flags, sequence, body in wire.messages(self._receive(some[0].what)):
                    if not 0 <= sequence - first < len(some):
                        continue
                    if kind != uapi.NLMSG_ERROR:
                        found[sequence - first] = body[wire.NFGENMSG.size :]
                        continue
                    open_questions -= 1
                    number, detail = _error(kind, flags, body)
                    if number not in {0, errno.ENOENT}:
                        raise _failure(number, some[sequence - first].what, detail)
            answers += found
        return answers

    def _bind(self) -> None:
        for _ in range(_PORTS_TRIED):
            try:
                return self._socket.bind((OWN_PORTS | int.from_bytes(os.urandom(2), "little"), 0))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise UnavailableError("no port is free for a netlink socket", "end the geodrop processes that hold them")

    def _dump_once(self, request: NetlinkRequest) -> tuple[list[memoryview], bool]:
        sequence = self._take(1)
        self._send([request.encode(sequence)], request.what)
        answers: list[memoryview] = []
        whole = True
        while True:
            for kind, flags, answered, body in wire.messages(self._receive(request.what)):
                if answered != sequence:
                    continue
                whole = whole and not flags & Flag.DUMP_INTR
                if kind in {uapi.NLMSG_ERROR, uapi.NLMSG_DONE}:
                    number, detail = _error(kind, flags, body)
                    if number == errno.EINTR:
                        return answers, False
                    if number:
                        raise _failure(number, request.what, detail)
                    return answers, whole
                answers.append(body[wire.NFGENMSG.size :])

    def _take(self, count: int) -> int:
        first = self._sequence + 1
        self._sequence += count
        return first

    def _send(self, pieces: Sequence[bytes], what: str) -> None:
        try:
            self._socket.sendmsg(pieces)
        except OSError as error:
            number = error.errno or errno.EIO
            raise _failure(number, what, "raise net.core.wmem_max" if number == errno.EMSGSIZE else "") from error

    def _receive(self, what: str, flags: int = 0) -> memoryview:
        try:
            return memoryview(self._socket.recv(_RECEIVE, flags))
        except BlockingIOError:
            raise
        except OSError as error:
            raise _failure(error.errno or errno.EIO, what) from error

    def _check(self, first: int, whats: Sequence[str]) -> None:
        """Read what a transaction left in the queue. The first error is the cause, the others mostly follow from it."""
        acknowledged = False
        failure: ApplyError | PrivilegeError | UnavailableError | None = None
        for received in self._queued(whats[0]):
            for kind, flags, sequence, body in wire.messages(received):
                if kind != uapi.NLMSG_ERROR or not first <= sequence <= first + len(whats):
                    continue
                number, detail = _error(kind, flags, body)
                position = sequence - first - 1
                if number:
                    # An error of the commit as a whole comes back for the beginning of the batch.
                    failure = failure or _failure(number, whats[position] if position >= 0 else "commit", detail)
                elif position == len(whats) - 1:
                    acknowledged = True
        if failure:
            raise failure
        if not acknowledged:
            raise RefusedError(errno.EIO, whats[0], "no answer")

    def _queued(self, what: str) -> Iterator[memoryview]:
        """All that is in the queue, also if there was more than it holds (ENOBUFS).

        What stayed in it would leave no room for the next answer, and whoever waits for that would wait for ever.
        """
        while True:
            try:
                yield self._receive(what, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except RefusedError as error:
                if error.errno != errno.ENOBUFS:
                    raise


@functools.cache
def _closer() -> queue.SimpleQueue[socket.socket]:
    """Closes sockets in a thread of its own: the kernel frees what transactions have deleted before it lets one go, and
    nobody here needs to wait those 20 ms.
    """
    sockets: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()

    def close() -> None:
        while True:
            sockets.get().close()

    threading.Thread(target=close, name="closer", daemon=True).start()
    return sockets


def _error(kind: int, flags: int, body: memoryview) -> tuple[int, str]:
    """Errno and the kernel's own words (extended acknowledgement) of an NLMSG_ERROR or NLMSG_DONE."""
    number = -_ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0
    if not flags & Flag.ACK_TLVS:
        return number, ""
    # Of the request an NLMSG_ERROR repeats the header alone (NETLINK_CAP_ACK), an NLMSG_DONE nothing.
    start = _ERROR.size + (wire.HEADER.size if kind == uapi.NLMSG_ERROR else 0)
    found = wire.parse(body[start:])
    return number, wire.text(found[uapi.NLMSGERR_ATTR_MSG]) if uapi.NLMSGERR_ATTR_MSG in found else ""


def _failure(number: int, what: str, detail: str = "") -> RefusedError | PrivilegeError | UnavailableError:
    if number in {errno.EPERM, errno.EACCES}:
        return PrivilegeError(
            f"the kernel refused to {what}: CAP_NET_ADMIN is missing in this network namespace",
            "run it as root, or give the unit AmbientCapabilities=CAP_NET_ADMIN",
        )
    if number in {errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT}:
        return UnavailableError(f"this kernel cannot {what} ({os.strerror(number)})", _GETTING_NEXT_STEP)
    return RefusedError(number, what, detail)
