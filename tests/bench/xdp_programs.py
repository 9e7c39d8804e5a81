# SPDX-License-Identifier: Apache-2.0
"""The programs of tests/bench/bpf/bench.bpf.c, built and loaded, with addresses and tries filled."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import struct
import subprocess
import time
from ctypes import byref, c_int, c_uint32, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.linux import libbpf
from geodrop.xdp import encode
from geodrop.xdp import layout as lay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geodrop.ruleset.model import Ruleset

HERE = Path(__file__).parent
ADDRESSES = 1 << 16
LOOKUPS = 16
REPEAT = 1 << 16
SIGNATURES = {
    "bpf_map_update_batch": (c_int, c_void_p, c_void_p, c_void_p, c_void_p),
    "bpf_map__fd": (c_void_p,),
    "bpf_map__set_inner_map_fd": (c_void_p, c_int),
}
"""Argument types of the libbpf functions that only the bench calls (bpf/bpf.h, bpf/libbpf.h); each returns an int."""

Interval = tuple[int, int, int]
"""First address, last address and zone."""


class Bench:
    """One object with all programs; its tables map is the one given."""

    def __init__(self, folder: Path, tables: int) -> None:
        built = folder / "bench.bpf.o"
        include = f"/usr/include/{platform.machine()}-linux-gnu"
        command = ["clang", "-O2", "-g", "-target", "bpf", f"-I{include}", f"-I{HERE.parents[1] / 'bpf'}"]
        subprocess.run([*command, "-c", str(HERE / "bpf" / "bench.bpf.c"), "-o", str(built)], check=True)
        library = libbpf.library()
        for name, arguments in SIGNATURES.items():
            getattr(library, name).argtypes = arguments
        self._object = library.bpf_object__open_file(os.fsencode(built), None)
        for name in ("tables", "policies"):
            libbpf.call("bpf_map__set_inner_map_fd", self._found("map", name), tables)
        for name in ("drive4", "drive6", "bare_drop", "pass_all", "parse_drop", "trie_drop"):
            libbpf.call("bpf_program__set_flags", self._found("program", name), libbpf.HAS_FRAGS)
        libbpf.call("bpf_object__load", self._object)
        libbpf.write_element(self.map("tables"), 0, tables.to_bytes(4, "little"))
        self._prefixes: dict[str, tuple[bytes, bytes, int]] = {}
        self._memory = libbpf.map_memory(self.map("addresses"), ADDRESSES * 16)
        self._progress = libbpf.map_memory(self.map("progress"), 4096)

    def close(self) -> None:
        """Release all maps and programs."""
        self._memory.close()
        self._progress.close()
        libbpf.library().bpf_object__close(self._object)

    def map(self, name: str) -> int:
        """Return a map's descriptor."""
        return libbpf.call("bpf_map__fd", self._found("map", name))

    def program(self, name: str) -> int:
        """Return a program's descriptor."""
        return libbpf.call("bpf_program__fd", self._found("program", name))

    def use(self, family: int, addresses: list[int]) -> None:
        """Set the addresses that the loops go through in order, repeatedly."""
        if family == 4:
            packed = struct.pack(f"{len(addresses)}I", *addresses)
        else:
            packed = b"".join(struct.pack("QQ", one >> 64, one & (1 << 64) - 1) for one in addresses)
        self._memory[: len(packed)] = packed

    def loop(self, name: str) -> Callable[[], float]:
        """Return nanoseconds per lookup, the loop included."""
        return lambda: _steady(self.program(f"loop_{name}"), bytes(64), REPEAT // LOOKUPS) / LOOKUPS

    def found(self, name: str) -> int:
        """Return the sum of a loop's results for all addresses: equal sums mean equal answers."""
        self._progress[:16] = bytes(16)
        libbpf.run_program(self.program(f"loop_{name}"), bytes(64), repeat=ADDRESSES // LOOKUPS)
        return int.from_bytes(self._progress[8:16], "little")

    def packet(self, program: int, family: int, frame: bytes) -> Callable[[], float]:
        """Return nanoseconds per packet of a program, the driver included."""

        def measure() -> float:
            libbpf.write_element(self.map("next"), 0, program.to_bytes(4, "little"))
            return _steady(self.program(f"drive{family}"), frame, REPEAT)

        return measure

    def prepare_tries(self, intervals: dict[int, list[Interval]]) -> None:
        """Prepare tries with the same prefixes as the tables have intervals."""
        self._prefixes.clear()
        for family, some in intervals.items():
            keys, values, count = bytearray(), bytearray(), 0
            for first, last, zone in some:
                for address, length in prefixes(first, last, 32 if family == 4 else 128):
                    keys += struct.pack("=I", length) + address.to_bytes(4 if family == 4 else 16, "big")
                    values += struct.pack("=I", zone + 1)
                    count += 1
            self._prefixes[f"trie{family}"] = bytes(keys), bytes(values), count

    def fill_tries(self) -> float:
        """Write the prepared prefixes into the tries; return the seconds that the kernel took."""
        before = time.perf_counter()
        for name, (keys, values, count) in self._prefixes.items():
            if libbpf.library().bpf_map_update_batch(self.map(name), keys, values, byref(c_uint32(count)), None):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return time.perf_counter() - before

    def _found(self, kind: str, name: str) -> int:
        return int(getattr(libbpf.library(), f"bpf_object__find_{kind}_by_name")(self._object, name.encode()))


def _steady(program: int, frame: bytes, repeat: int) -> int:
    """Return nanoseconds per run after one warm-up over all addresses: a measurement between empties the cache."""
    libbpf.run_program(program, frame, repeat=repeat)
    return libbpf.run_program(program, frame, repeat=repeat)[2]


def prefixes(first: int, last: int, bits: int) -> Iterator[tuple[int, int]]:
    """Return an interval as prefixes."""
    while first <= last:
        size = (first & -first) or 1 << bits
        while first + size - 1 > last:
            size >>= 1
        yield first, bits - size.bit_length() + 1
        first += size


def intervals(ruleset: Ruleset, family: int, *, denied: bool) -> list[Interval]:
    """Return all intervals of the ruleset's first service, or those it drops."""
    width, end = (4, 1 << 32) if family == 4 else (16, 1 << 128)
    starts = ruleset.sections[f"ipv{family}/starts"]
    zones = ruleset.sections[f"ipv{family}/zones"].cast("H")
    if family == 4:
        firsts = list(starts.cast("I"))
    else:
        firsts = [int.from_bytes(starts[at : at + width], "big") for at in range(0, len(starts), width)]
    drops = [ruleset.row(zone, 0).verdict == "drop" for zone in range(len(ruleset.meta.zones))]
    lasts = [*(first - 1 for first in firsts[1:]), end - 1]
    return [
        (first, last, zone) for first, last, zone in zip(firsts, lasts, zones, strict=True) if drops[zone] or not denied
    ]


def sample(some: list[Interval], *, by_size: bool) -> list[int]:
    """Return random addresses: anywhere in the space of the intervals, or each interval equally likely."""
    chosen = random.Random(1)
    weights = [last - first + 1 for first, last, _ in some] if by_size else None
    picked = chosen.choices(some, weights, k=ADDRESSES)
    return [chosen.randint(first, last) for first, last, _ in picked]


def tables_map(ruleset: Ruleset) -> int:
    """Fill a tables map of the ruleset, outside any generation."""
    count = encode.segments_needed(ruleset)
    fd = libbpf.create_array("bench_tables", lay.SEGMENT_BYTES, count)
    with libbpf.map_memory(fd, count * lay.SEGMENT_BYTES) as memory:
        for _, offset, content in encode.table_parts(ruleset):
            memory[offset : offset + len(content)] = content
    return fd
