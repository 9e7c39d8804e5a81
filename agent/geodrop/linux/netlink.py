# SPDX-License-Identifier: Apache-2.0
"""Netlink for any subsystem: split messages and attributes, send requests, read dumps and the kernel's error texts.

A message is a struct nlmsghdr and its payload; an attribute is a length and a type, 16 bits each in the byte order of
the host, and its value padded to 4 bytes (struct nlattr).

Sources: linux/netlink.h, netlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Self

from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Encode = Callable[[int], bytes]
    """Returns a whole message that has the given sequence number."""

    Message = tuple[int, int, int, memoryview]
    """Type, flags, sequence number, and the whole message, header included."""

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
ATTRIBUTE = struct.Struct("=HH")

REQUEST, ACK, DUMP_INTR, EXCL, ACK_TLVS, DUMP, CREATE = 0x1, 0x4, 0x10, 0x200, 0x200, 0x300, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NETLINK_SOCK_DIAG = 4
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK = 0x3FFF
SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK = 10, 11

ALLOW_NETLINK = "allow AF_NETLINK (RestrictAddressFamilies= in a unit)"

RECEIVE = 64 << 10
"""Bytes to receive at once; the kernel fills at most 32 KB per message of a dump."""

_ERROR = struct.Struct("=i")
_INTERRUPTED_DUMPS = 10
_QUESTIONS_AT_ONCE = 64  # their answers must fit the receive buffer, 208 KB by default


class NetlinkError(OSError):
    """The kernel refused a message: `errno`, and in `detail` the kernel's own error text, if any."""

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(number, os.strerror(number))
        self.detail = detail


class NetlinkSocket:
    """A socket to one subsystem of the kernel, in the network namespace of the calling thread.

    `to` completes "no netlink socket to ..." in the UnavailableError that is raised if none can be opened. `prepare`
    sets up every socket that is opened. All methods raise OSError, and NetlinkError if the kernel refuses a request.
    """

    def __init__(
        self,
        protocol: int,
        to: str,
        next_step: str = ALLOW_NETLINK,
        prepare: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self._arguments = (protocol, to, next_step, prepare)
        self._sequence = 0
        self.socket = self._opened()

    def _opened(self) -> socket.socket:
        protocol, to, next_step, prepare = self._arguments
        opened = open_socket(protocol, to, next_step)
        try:
            opened.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            if prepare:
                prepare(opened)
        except BaseException:
            opened.close()
            raise
        return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def take(self, count: int) -> int:
        """Reserve `count` sequence numbers and return the first."""
        first = self._sequence + 1
        self._sequence += count
        return first

    def receive(self, flags: int = 0) -> memoryview:
        """Receive the next datagram: one or more messages."""
        return memoryview(self.socket.recv(RECEIVE, flags))

    def ask(self, questions: Sequence[Encode]) -> list[memoryview | NetlinkError | None]:
        """Send requests that have the flag ACK, and return the answers in order, each a whole message.

        An answer is None if the kernel acknowledged without data, and a NetlinkError if it refused the request.
        """
        answers: list[memoryview | NetlinkError | None] = []
        for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
            answers += self._ask_at_once(questions[start : start + _QUESTIONS_AT_ONCE])
        return answers

    def do(self, question: Encode) -> memoryview | None:
        """Send one request that has the flag ACK and return its answer; raises NetlinkError if the kernel refuses."""
        [answer] = self.ask([question])
        if isinstance(answer, NetlinkError):
            raise answer
        return answer

    def dump(self, encode: Encode, wanted: Callable[[memoryview], bool] | None = None) -> list[memoryview]:
        """Send a request that has the flag DUMP, and return its answers: all, or those that `wanted` accepts.

        The answers are whole messages. The dump starts again if the kernel's state changed while it was read, since it
        would be half old and half new, or if answers were lost. Raises NetlinkError with EINTR if the state changed
        during each attempt.
        """
        for _ in range(_INTERRUPTED_DUMPS):
            try:
                return self._dump_once(encode, wanted)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    # The end of the dump may be lost too, and waiting for it on this socket would never end.
                    self.socket.close()
                    self.socket = self._opened()
                elif error.errno != errno.EINTR:
                    raise
        raise NetlinkError(errno.EINTR)

    def _ask_at_once(self, questions: Sequence[Encode]) -> list[memoryview | NetlinkError | None]:
        first = self.take(len(questions))
        self.socket.send(b"".join(encode(first + number) for number, encode in enumerate(questions)))
        answers: list[memoryview | NetlinkError | None] = [None] * len(questions)
        unanswered = len(questions)
        while unanswered:
            for kind, flags, sequence, message in messages(self.receive()):
                number = sequence - first
                if not 0 <= number < len(questions):
                    continue
                if kind == NLMSG_ERROR:
                    unanswered -= 1
                    answers[number] = refusal(kind, flags, message) or answers[number]
                else:
                    answers[number] = message
        return answers

    def _dump_once(self, encode: Encode, wanted: Callable[[memoryview], bool] | None) -> list[memoryview]:
        sequence = self.take(1)
        self.socket.send(encode(sequence))
        answers: list[memoryview] = []
        whole = True
        while True:
            for kind, flags, answered, message in messages(self.receive()):
                if answered != sequence:
                    continue
                whole = whole and not flags & DUMP_INTR
                if kind in {NLMSG_ERROR, NLMSG_DONE}:
                    if error := refusal(kind, flags, message) or (None if whole else NetlinkError(errno.EINTR)):
                        raise error
                    return answers
                if wanted is None or wanted(message):
                    answers.append(message)


def open_socket(protocol: int, to: str, next_step: str = ALLOW_NETLINK, flags: int = 0) -> socket.socket:
    """Open a socket to a subsystem. Raises UnavailableError: "no netlink socket to `to`", and the next step."""
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags, protocol)
    except OSError as error:
        # Opening one needs no privilege: a refusal means that the subsystem is missing or system calls are filtered.
        raise UnavailableError(f"no netlink socket to {to} ({error.strerror})", next_step) from error


def messages(received: memoryview) -> Iterator[Message]:
    """Split a received datagram into messages; a truncated header ends it."""
    offset = 0
    while offset + HEADER.size <= len(received):
        length, kind, flags, sequence, _ = HEADER.unpack_from(received, offset)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, received[offset : offset + length]
        offset += -(-length // 4) * 4


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Split a value into (type without flags, value) pairs; a truncated attribute header ends it."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            return
        yield kind & NLA_TYPE_MASK, data[offset + ATTRIBUTE.size : offset + length]
        offset += -(-length // 4) * 4


def refusal(kind: int, flags: int, message: memoryview) -> NetlinkError | None:
    """Return the error in an NLMSG_ERROR or NLMSG_DONE, with the extended acknowledgement; None if there is none."""
    body = message[HEADER.size :]
    number = -_ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0
    if not number:
        return None
    detail = b""
    if flags & ACK_TLVS:
        # An NLMSG_ERROR repeats the header of the request alone (NETLINK_CAP_ACK), an NLMSG_DONE repeats nothing.
        start = _ERROR.size + (HEADER.size if kind == NLMSG_ERROR else 0)
        detail = bytes(dict(attributes(body[start:])).get(NLMSGERR_ATTR_MSG, b""))
    return NetlinkError(number, detail.rstrip(b"\0").decode("utf-8", "backslashreplace"))
