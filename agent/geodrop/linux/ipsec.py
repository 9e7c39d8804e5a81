"""Whether the kernel holds IPsec states: what ESP wraps is then seen by nftables once it is unwrapped, by xdp never.

pyroute2 has nothing of NETLINK_XFRM. Source: linux/xfrm.h.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

NETLINK_XFRM = 6
XFRM_MSG_GETSADINFO, XFRM_MSG_NEWSADINFO = 0x23, 0x22
XFRMA_SAD_CNT = 1

_HEADER = struct.Struct("=IHHII")
_REQUEST = 0x1
_FLAGS = struct.Struct("=I")
_ATTRIBUTE = struct.Struct("=HHI")


def in_use() -> bool | None:
    """Whether this network namespace has any state; None where the kernel does not say, as without CAP_NET_ADMIN."""
    return _is_there() and _has_states()


def _has_states() -> bool | None:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_XFRM) as channel:
            size = _HEADER.size + _FLAGS.size
            channel.send(_HEADER.pack(size, XFRM_MSG_GETSADINFO, _REQUEST, 1, 0) + _FLAGS.pack(0xFFFF_FFFF))
            answer = channel.recv(4096)
    except OSError:
        return None
    _, kind, *_ = _HEADER.unpack_from(answer)
    offset = _HEADER.size + _FLAGS.size
    while kind == XFRM_MSG_NEWSADINFO and offset + _ATTRIBUTE.size <= len(answer):
        length, attribute, count = _ATTRIBUTE.unpack_from(answer, offset)
        if attribute == XFRMA_SAD_CNT:
            return bool(count)
        offset += max(-(-length // 4) * 4, 4)
    return None


def _is_there() -> bool:
    """Whether the kernel listens. Asking a kernel that does not would load the module, on every host."""
    try:
        lines = Path("/proc/thread-self/net/netlink").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    return any(line.split()[1] == str(NETLINK_XFRM) for line in lines)
