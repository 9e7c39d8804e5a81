"""Classic BPF on sockets: what a listener does not want is dropped in the kernel, and takes no room in its queue.

Loads from a message are big-endian, while netlink is in the byte order of the host: `half` and `word` turn constants
round to match.

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
"""struct sock_filter: code, how many lines to skip if true and if false, a number."""

LOAD_WORD, LOAD_HALF, LOAD_BYTE, AND, RETURN = 0x20, 0x28, 0x30, 0x54, 0x06
JUMP_EQUAL, JUMP_GREATER = 0x15, 0x25
TAKE: Line = (RETURN, 0, 0, 0xFFFF_FFFF)
LEAVE: Line = (RETURN, 0, 0, 0)
SO_ATTACH_FILTER = 26


def half(number: int) -> int:
    """What a load of 16 bits finds where the host wrote a number."""
    return int.from_bytes(struct.pack("=H", number), "big")


def word(number: int) -> int:
    """The same of 32 bits."""
    return int.from_bytes(struct.pack("=I", number), "big")


def attach(to: socket.socket, code: Sequence[Line]) -> None:
    """From now on only messages that the code takes are queued. SO_ATTACH_FILTER takes a struct sock_fprog."""
    packed = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    to.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
