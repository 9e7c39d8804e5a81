# SPDX-License-Identifier: Apache-2.0
"""Check whether the machine has the memory that tables in the kernel take."""

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
    """Raise UnavailableError if two generations at a time would not fit the available memory."""
    cpus = libbpf.possible_cpus()
    needed, there = 2 * sizes.memory(cpus), available()
    if needed > there:
        raise UnavailableError(
            f"two generations need {needed / 1e6:,.0f} MB of kernel memory with counters for {cpus} CPUs, "
            f"{there / 1e6:,.0f} MB are available",
            "use --engine nftables, or a smaller policy",
        )


def available() -> int:
    """Return the bytes that can be had without swapping.

    This is the kernel's estimate MemAvailable, which includes the page cache: it gives way, and on a host that has been
    up for a while it fills most of the memory. If /proc is hidden, the free memory is returned.
    """
    try:
        found = re.search(rb"^MemAvailable:\s+(\d+) kB$", MEMINFO.read_bytes(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) << 10 if found else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
