# SPDX-License-Identifier: Apache-2.0
"""The channel between the compile child and the process that started it: a SOCK_SEQPACKET socket, both ways.

A message is one JSON object, with descriptors beside it (SCM_RIGHTS). In order:

    parent  {"prepare": {...}}             at most once: the files that a task will need, to be read in advance
    parent  {"task": "compile", ...}       once; the numbers in "streams", "policy", ... index the descriptors beside it
    child   {"list": "lists/bad.txt"}      any number of times; the parent answers each:
    parent  {"found": true} with a descriptor, or {"refused": "No such file or directory"}
    child   {"change": "..."}              any number of times: a piece of a JSON text (ruleset.difference)
    child   {"exit": 0}                    once, as the last message

If the channel closes before the last message, the child has died. Neither side trusts the other: a message that breaks
these rules ends the conversation.
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
"""Most bytes in a message: a socket takes that in one piece unless net.core.wmem_default was lowered."""

PIECE = 1 << 15
"""Characters of a long text in one message; none takes more than two bytes in JSON text that is quoted again."""

MAX_DESCRIPTORS = 48
"""Most descriptors with one message: fewer than the child's limit leaves free, and than the kernel allows (253)."""


def send(channel: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError (EMSGSIZE: too long; TimeoutError if the socket has a timeout)."""
    data = json.dumps(message).encode()
    if len(data) > MAX_MESSAGE:
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    channel.sendmsg([data], rights)


def receive(channel: socket.socket, descriptors: int = 0) -> tuple[dict[str, Any], list[int]] | None:
    """Receive one message with at most `descriptors` descriptors; None if the other side has closed.

    Raises ValueError for anything that is not a JSON object in bounds, and OSError. The caller closes the descriptors.
    """
    room = socket.CMSG_SPACE(descriptors * array.array("i").itemsize) if descriptors else 0
    data, ancillary, flags, _ = channel.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    given = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            given.frombytes(content[: len(content) - len(content) % given.itemsize])
    try:
        # The kernel truncates what does not fit, sets these flags, and closes descriptors that exceed the room.
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a message that is too long, or has too many descriptors")
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
