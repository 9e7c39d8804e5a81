# SPDX-License-Identifier: Apache-2.0
"""Which capabilities this process has, which an engine or the demo needs, and what goes wrong without each.

Numbers: linux/capability.h. CAP_SYS_ADMIN holds CAP_BPF and CAP_PERFMON since those were split from it (Linux 5.8).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.errors import PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBERS = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
CONTAINED = {"CAP_BPF", "CAP_PERFMON"}
"""Capabilities that CAP_SYS_ADMIN includes."""

NFTABLES = ("CAP_NET_ADMIN",)
XDP = ("CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON")

COSTS = {
    "CAP_NET_ADMIN": "no rule can be changed and no program attached",
    "CAP_BPF": "no BPF map can be made and no program loaded",
    "CAP_PERFMON": "the verifier refuses header offsets that the program computes, and slows lookups down",
}


def effective(process: str = "thread-self") -> frozenset[str]:
    """Return the effective capabilities among NUMBERS of this thread or of another process.

    CAP_SYS_ADMIN adds the ones that it includes. `process` is a name under /proc. Raises OSError if there is no such
    process.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    [line] = [line for line in status.splitlines() if line.startswith("CapEff:")]
    bits = int(line.split()[1], 16)
    found = {name for name, number in NUMBERS.items() if bits >> number & 1}
    return frozenset(found | CONTAINED if "CAP_SYS_ADMIN" in found else found)


def missing(needed: Iterable[str]) -> list[str]:
    """Return the needed capabilities that this thread lacks, in the order given."""
    there = effective()
    return [name for name in needed if name not in there]


def require(needed: Iterable[str]) -> None:
    """Raise PrivilegeError if a capability is missing; the message names each one and what does not work without it."""
    if lacking := missing(needed):
        of_xdp = CONTAINED.intersection(lacking)
        # A unit needs more than these two for xdp: the drop-in sets the rest.
        step = "make install XDP=1" if of_xdp else f"give the unit AmbientCapabilities={' '.join(lacking)}"
        raise PrivilegeError(
            "; ".join(f"{name} is missing: {COSTS[name]}" for name in lacking), f"run it as root, or {step}"
        )
