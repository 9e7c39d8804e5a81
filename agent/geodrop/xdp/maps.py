# SPDX-License-Identifier: Apache-2.0
"""The maps of the program, made in one place for all loaders."""

from __future__ import annotations

import contextlib
import ctypes
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from geodrop.linux import libbpf
from geodrop.xdp import exempt
from geodrop.xdp import layout as lay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.xdp.loader import Sizes

SLOTS = 2
"""Generations that can exist at a time."""

COUNTERS_OF_A_PAIR = 4


@contextlib.contextmanager
def pinned_maps(folder: Path, sizes: Sizes) -> Iterator[dict[str, int]]:
    """Make a program's maps and pin them; yield their open descriptors by their names in bpf/maps.h.

    Raises OSError.
    """
    with ExitStack() as stack:

        def made(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        def map_of_arrays(name: str, size: int, entries: int) -> int:
            """Make a map of arrays. The inner arrays have one fixed size, so that lookups in them stay inlined."""
            template = made(libbpf.create_array("geodrop_template", size, entries))
            return made(libbpf.create_map(libbpf.ARRAY_OF_MAPS, name, 4, SLOTS, inner=template))

        control, counter = ctypes.sizeof(lay.ControlLayout), ctypes.sizeof(lay.CounterLayout)
        maps = {
            "control": made(libbpf.create_array("control", control, 1)),
            "tables": map_of_arrays("tables", lay.SEGMENT_BYTES, sizes.segments),
            "policies": map_of_arrays("policies", lay.POLICY_BYTES, sizes.elements),
            "counters": made(
                libbpf.create_map(libbpf.PERCPU_ARRAY, "counters", counter, sizes.pairs * COUNTERS_OF_A_PAIR)
            ),
            "exempt": made(exempt.create_map()),
        }
        for name, fd in maps.items():
            libbpf.pin(fd, str(folder / name))
        yield maps
