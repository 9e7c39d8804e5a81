"""Whether the machine has the memory that tables in the kernel take."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.errors import UnavailableError
from geodrop.linux import libbpf

if TYPE_CHECKING:
    from geodrop.xdp.loader import Sizes

MEMINFO = Path("/proc/meminfo")


def check(sizes: Sizes) -> None:
    """Refuse what would leave the machine without memory: two generations at once must fit what is available."""
    cpus = libbpf.possible_cpus()
    needed, there = 2 * sizes.memory(cpus), available()
    if needed > there:
        raise UnavailableError(
            f"two generations need {needed / 1e6:,.0f} MB of kernel memory with counters for {cpus} CPUs, "
            f"{there / 1e6:,.0f} MB are available",
            "use --engine nftables, or a smaller policy",
        )


def available() -> int:
    """Bytes that can be had without swapping.

    That is the kernel's own estimate (MemAvailable): a host that has been up for a while uses what is free for its page
    cache, which gives way. Where /proc is hidden what is free must do.
    """
    try:
        found = re.search(rb"^MemAvailable:\s+(\d+) kB$", MEMINFO.read_bytes(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) << 10 if found else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
