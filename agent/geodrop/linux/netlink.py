"""Netlink, whatever the subsystem: messages and attributes cut apart, questions, dumps, and the kernel's own words.

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
    """Makes a whole message that has this sequence number."""

    Message = tuple[int, int, int, memoryview]
    """Type, flags, sequence number, and the whole message, header included."""

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
ATTRIBUTE = struct.Struct("=HH")

REQUEST, ACK, DUMP_INTR, EXCL, ACK_TLVS, DUMP, CREATE = 0x1, 0x4, 0x10, 0x200, 0x200, 0x300, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK = 0x3FFF
SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK = 10, 11

ALLOW_NETLINK = "allow AF_NETLINK (RestrictAddressFamilies= in a unit)"

RECEIVE = 64 << 10
"""Bytes to receive at once; the kernel fills at most 32 KB with a message of a dump."""

_ERROR = struct.Struct("=i")
_INTERRUPTED_DUMPS = 10
_QUESTIONS_AT_ONCE = 64  # their answers must fit the receive buffer, 208 KB by default


class NetlinkError(OSError):
    """The kernel's answer to a message that it refuses: `errno`, and in `detail` its own words, if it has any."""

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(number, os.strerror(number))
        self.detail = detail


class NetlinkSocket:
    """A socket to one subsystem of the kernel, in the network namespace of the calling thread.

    `to` completes "no netlink socket to ..." in the UnavailableError that is raised where none can be opened; `prepare`
    sets up every socket that is opened. All methods raise OSError, and NetlinkError for what the kernel refuses.
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
        """Close it."""
        self.socket.close()

    def take(self, count: int) -> int:
        """Sequence numbers that nobody else gets: the first of `count`."""
        first = self._sequence + 1
        self._sequence += count
        return first

    def receive(self, flags: int = 0) -> memoryview:
        """What comes next, one or more messages."""
        return memoryview(self.socket.recv(RECEIVE, flags))

    def ask(self, questions: Sequence[Encode]) -> list[memoryview | NetlinkError | None]:
        """Ask questions that have the flag ACK; the answers, whole messages, in order.

        None where the kernel has done what was asked and has nothing to say, NetlinkError where it refuses.
        """
        answers: list[memoryview | NetlinkError | None] = []
        for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
            answers += self._ask_at_once(questions[start : start + _QUESTIONS_AT_ONCE])
        return answers

    def do(self, question: Encode) -> memoryview | None:
        """Ask a single one; the error is raised."""
        [answer] = self.ask([question])
        if isinstance(answer, NetlinkError):
            raise answer
        return answer

    def dump(self, encode: Encode, wanted: Callable[[memoryview], bool] | None = None) -> list[memoryview]:
        """The answers to a request that has the flag DUMP, whole messages: all, or those that are wanted.

        It is asked again from the start if something changed while it was read, which gives half of before and half of
        after, or if answers were lost. Raises NetlinkError with EINTR if it changed each time.
        """
        for _ in range(_INTERRUPTED_DUMPS):
            try:
                return self._dump_once(encode, wanted)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    # The end of the dump may be lost too, and on this socket would be waited for without end.
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
    """A socket to a subsystem. Raises UnavailableError: "no netlink socket to `to`", and the next step."""
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | flags, protocol)
    except OSError as error:
        # Opening one takes no privilege: a refusal means no such subsystem, or a filter on system calls.
        raise UnavailableError(f"no netlink socket to {to} ({error.strerror})", next_step) from error


def messages(received: memoryview) -> Iterator[Message]:
    """Cut what a socket received into messages."""
    offset = 0
    while offset + HEADER.size <= len(received):
        length, kind, flags, sequence, _ = HEADER.unpack_from(received, offset)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, received[offset : offset + length]
        offset += -(-length // 4) * 4


def attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Cut a value into (type without flags, value) pairs; whatever is cut off is left out."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            return
        yield kind & NLA_TYPE_MASK, data[offset + ATTRIBUTE.size : offset + length]
        offset += -(-length // 4) * 4


def refusal(kind: int, flags: int, message: memoryview) -> NetlinkError | None:
    """The error in an NLMSG_ERROR or NLMSG_DONE, with the extended acknowledgement; None if all is well."""
    body = message[HEADER.size :]
    number = -_ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0
    if not number:
        return None
    detail = b""
    if flags & ACK_TLVS:
        # Of the request an NLMSG_ERROR repeats the header alone (NETLINK_CAP_ACK), an NLMSG_DONE nothing.
        start = _ERROR.size + (HEADER.size if kind == NLMSG_ERROR else 0)
        detail = bytes(dict(attributes(body[start:])).get(NLMSGERR_ATTR_MSG, b""))
    return NetlinkError(number, detail.rstrip(b"\0").decode("utf-8", "backslashreplace"))
