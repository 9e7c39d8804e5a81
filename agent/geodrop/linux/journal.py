# SPDX-License-Identifier: Apache-2.0
"""Entries for the journal, in its native protocol: one datagram an entry, fields with exact values.

systemd.io/JOURNAL_NATIVE_PROTOCOL: `KEY=value` and a newline, or for values that contain newlines the key, a newline,
the length as uint64 little-endian, the value and a newline. journald adds the fields that it knows itself, such as
_PID and _UID.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

JOURNAL = "/run/systemd/journal/socket"
MAX_FIELD = 16 << 10
"""Bytes of one field; a datagram that is too long would be lost as a whole."""


def encode(fields: Mapping[str, str]) -> bytes:
    """Return the datagram of an entry."""
    return b"".join(_field(key, value) for key, value in fields.items())


def connect(path: str = JOURNAL) -> socket.socket | None:
    """Return a socket that leads to the journal; None if there is no journal."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        channel.connect(path)
    except OSError:
        channel.close()
        return None
    return channel


def send(fields: Mapping[str, str], path: str = JOURNAL) -> None:
    """Write one entry, if there is a journal and it takes it at once."""
    if channel := connect(path):
        with channel, suppress(OSError):
            channel.send(encode(fields), socket.MSG_DONTWAIT)


def _field(key: str, value: str) -> bytes:
    content = value.encode(errors="replace")[:MAX_FIELD]
    if b"\n" not in content:
        return b"%s=%s\n" % (key.encode(), content)
    return b"%s\n%s%s\n" % (key.encode(), struct.pack("<Q", len(content)), content)
