# SPDX-License-Identifier: Apache-2.0
"""One message on a control socket: a length and a JSON object.

    offset  size
    0       4     length of the JSON object in bytes, uint32 big-endian
    4       ...   one JSON object, UTF-8

A request is {"v": 1, "verb": "reload", "args": {...}}; root adds "sudo_user", if sudo says who that is. The answer is
any number of {"v": 1, "progress": "compiling"} and then one {"v": 1, "exit": 0, ...}:

    text       one line for a person, if the verb has one
    data       the object or objects of the verb's --json
    warnings   lines ready for stderr
    error, next_step, printed   the failure, if the exit code is that of an exception (errors.py)
    held       the limits that hold a reload, if that is the failure

A connection has one request; the daemon closes it after the answer.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from geodrop.errors import UnavailableError
from geodrop.formats import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = struct.Struct(">I")
MAX_REQUEST = 64 << 10
"""Most bytes of a request: how much memory a client can make the daemon use."""
MAX_ANSWER = 64 << 20
"""Most bytes of an answer; the counters of a large policy take a few million."""


def encode(message: Mapping[str, Any]) -> bytes:
    """Return the frame of a message, with the version added."""
    body = json.dumps({"v": PROTOCOL.number, **message}, separators=(",", ":")).encode()
    return HEADER.pack(len(body)) + body


def length(header: bytes, limit: int) -> int:
    """Return the length in bytes that a header announces. Raises UnavailableError if it is more than `limit`."""
    [size] = HEADER.unpack(header)
    if size > limit:
        raise UnavailableError(f"a message has {size:,} bytes, {limit:,} is the most")
    return int(size)


def decode(body: bytes) -> dict[str, Any]:
    """Return the message of a frame. Raises UnavailableError if it is no message, or of another version."""
    try:
        message = json.loads(body, parse_constant=_refuse)
    # RecursionError: deeply nested brackets are valid JSON too.
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"a message is not JSON ({error})") from None
    number = message.get("v") if isinstance(message, dict) else None
    if not isinstance(message, dict) or type(number) is not int or not PROTOCOL.reads(number):
        raise UnavailableError(
            f"a message is not of version {PROTOCOL.number} of geodrop's protocol",
            "the daemon and this command are of different versions: restart the daemon",
        )
    return message


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python accepts but JSON does not have."""
    raise ValueError(constant)
