"""The channel between the compile child and the process that started it: a SOCK_SEQPACKET socket, both ways.

A message is one JSON object, with descriptors beside it (SCM_RIGHTS). In order:

    parent  {"prepare": {...}}             at most once: what a task will need, to be read ahead
    parent  {"task": "compile", ...}       once; the numbers in "streams", "policy", ... index the descriptors beside it
    child   {"list": "lists/bad.txt"}      any number of times; the parent answers each:
    parent  {"found": true} with a descriptor, or {"refused": "No such file or directory"}
    child   {"exit": 0, "change": ...}     once, the last

A channel that closes before the last one means that the child has died. Neither side trusts the other further than
this: a message that breaks a rule ends the conversation.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_MESSAGE = 1 << 17
"""Bytes in a message: below what a socket takes in one piece unless somebody lowered net.core.wmem_default."""

MAX_DESCRIPTORS = 48
"""With one message; below what the child's limit leaves (and the kernel's own, 253)."""


def send(channel: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message; raises OSError (EMSGSIZE: too long; TimeoutError if the socket has a timeout)."""
    data = json.dumps(message).encode()
    if len(data) > MAX_MESSAGE:
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    channel.sendmsg([data], rights)


def receive(channel: socket.socket, descriptors: int = 0) -> tuple[dict[str, Any], list[int]] | None:
    """Receive one message with at most so many descriptors; None when the other side has closed.

    Raises ValueError for anything that is not one of our messages, and OSError. The descriptors are the caller's to
    close.
    """
    room = socket.CMSG_SPACE(descriptors * array.array("i").itemsize) if descriptors else 0
    data, ancillary, flags, _ = channel.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    given = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            given.frombytes(content[: len(content) - len(content) % given.itemsize])
    try:
        # What does not fit is cut off by the kernel, which says so; descriptors nobody asked for are closed by it.
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a message that is too long, or brings too many descriptors")
        if not data:
            _close(given)
            return None
        message = json.loads(data)
        if not isinstance(message, dict):
            raise TypeError("a message that is no object")
    except (ValueError, TypeError, RecursionError) as failure:
        _close(given)
        raise ValueError(str(failure)) from failure
    return message, given.tolist()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
