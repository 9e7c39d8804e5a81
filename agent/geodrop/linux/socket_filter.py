# SPDX-License-Identifier: Apache-2.0
"""Classic BPF on sockets: the kernel drops messages that a listener does not want, so they take no room in its queue.

Loads from a message are big-endian, while netlink uses the host's byte order: `half` and `word` swap constants to
match.

Sources: linux/filter.h, linux/bpf_common.h, socket(7).
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Line = tuple[int, int, int, int]
"""struct sock_filter: code, instructions to skip if true, instructions to skip if false, operand."""

LOAD_WORD, LOAD_HALF, LOAD_BYTE, AND, RETURN = 0x20, 0x28, 0x30, 0x54, 0x06
JUMP_EQUAL, JUMP_GREATER = 0x15, 0x25
TAKE: Line = (RETURN, 0, 0, 0xFFFF_FFFF)
LEAVE: Line = (RETURN, 0, 0, 0)
SO_ATTACH_FILTER = 26


def half(number: int) -> int:
    """Return the value that a 16-bit load reads where the host wrote `number`."""
    return int.from_bytes(struct.pack("=H", number), "big")


def word(number: int) -> int:
    """Return the value that a 32-bit load reads where the host wrote `number`."""
    return int.from_bytes(struct.pack("=I", number), "big")


def attach(to: socket.socket, code: Sequence[Line]) -> None:
    """Attach a filter: from now on only messages that it accepts are queued.

    SO_ATTACH_FILTER takes a struct sock_fprog.
    """
    packed = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    to.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
