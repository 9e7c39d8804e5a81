# SPDX-License-Identifier: Apache-2.0
"""Ask the kernel whether it holds IPsec states.

If it does, nftables sees the packets inside ESP once they are unwrapped, while xdp never sees them. pyroute2 has no
support for NETLINK_XFRM. Source: linux/xfrm.h.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from geodrop.errors import UnavailableError
from geodrop.linux import netlink

NETLINK_XFRM = 6
XFRM_MSG_GETSADINFO = 0x23
XFRMA_SAD_CNT = 1

_FLAGS = struct.Struct("=I")
_SIZE = netlink.HEADER.size + _FLAGS.size


def in_use() -> bool | None:
    """Return whether this network namespace has an IPsec state; None if the kernel refuses to say.

    The kernel refuses without CAP_NET_ADMIN.
    """
    return _is_there() and _has_states()


def _has_states() -> bool | None:
    try:
        with netlink.NetlinkSocket(NETLINK_XFRM, "IPsec") as kernel:
            answer = kernel.do(_question)
    except (OSError, UnavailableError):
        return None
    found = dict(netlink.attributes(answer[_SIZE:])) if answer else {}
    count = found.get(XFRMA_SAD_CNT)
    return None if count is None else int.from_bytes(count, sys.byteorder) > 0


def _question(sequence: int) -> bytes:
    flags = netlink.REQUEST | netlink.ACK
    return netlink.HEADER.pack(_SIZE, XFRM_MSG_GETSADINFO, flags, sequence, 0) + _FLAGS.pack(0xFFFF_FFFF)


def _is_there() -> bool:
    """Whether the kernel's xfrm module listens. Asking without this check would load the module on every host."""
    try:
        lines = Path("/proc/thread-self/net/netlink").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    return any(line.split()[1] == str(NETLINK_XFRM) for line in lines)
