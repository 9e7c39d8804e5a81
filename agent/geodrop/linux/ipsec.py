"""Whether the kernel holds IPsec states: what ESP wraps is then seen by nftables once it is unwrapped, by xdp never.

pyroute2 has nothing of NETLINK_XFRM. Source: linux/xfrm.h.
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
    """Whether this network namespace has any state; None where the kernel does not say, as without CAP_NET_ADMIN."""
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
    """Whether the kernel listens. Asking a kernel that does not would load the module, on every host."""
    try:
        lines = Path("/proc/thread-self/net/netlink").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    return any(line.split()[1] == str(NETLINK_XFRM) for line in lines)
