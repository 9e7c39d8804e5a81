"""One message on a control socket: its length, then itself.

    offset  size
    0       4     length of what follows in bytes, uint32 big-endian
    4       ...   one JSON object, UTF-8

A request is {"v": 1, "verb": "reload", "args": {...}}; root adds "sudo_user", if sudo says who that is. The answer is
any number of {"v": 1, "progress": "compiling"} and then one {"v": 1, "exit": 0, ...}:

    text       one line for a person, where the verb has one
    data       the object or objects of the verb's --json
    warnings   lines ready for stderr
    error, next_step, printed   what failed, for an exit code that is an exception's (errors.py)

One request a connection; the daemon closes it after the answer.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
HEADER = struct.Struct(">I")
MAX_REQUEST = 64 << 10
"""Bytes; what a stranger can make the daemon hold."""
MAX_ANSWER = 64 << 20
"""Bytes; the counters of a large policy are a few million."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A frame, the version added."""
    body = json.dumps({"v": VERSION, **message}, separators=(",", ":")).encode()
    return HEADER.pack(len(body)) + body


def length(header: bytes, limit: int) -> int:
    """The length that a header announces; raises UnavailableError if it is more than `limit`."""
    [size] = HEADER.unpack(header)
    if size > limit:
        raise UnavailableError(f"a message of {size:,} bytes is more than the {limit:,} that are taken here")
    return int(size)


def decode(body: bytes) -> dict[str, Any]:
    """The message of a frame; raises UnavailableError if it is none, or of another version."""
    try:
        message = json.loads(body, parse_constant=_refuse)
    # RecursionError: a thousand brackets are valid JSON, too.
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"a message is not JSON ({error})") from None
    if not isinstance(message, dict) or message.get("v") != VERSION:
        raise UnavailableError(
            f"a message is not of version {VERSION} of geodrop's protocol",
            "the daemon and this command are of different versions: restart the daemon",
        )
    return message


def _refuse(constant: str) -> None:
    """NaN and Infinity are Python's, and no JSON."""
    raise ValueError(constant)
