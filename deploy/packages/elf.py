# SPDX-License-Identifier: Apache-2.0
"""What an ELF file says of itself: its machine, and the shared libraries that it needs (elf(5))."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"\x7fELF\x02\x01"
"""64 bits, little-endian: all processors that packages are built for."""
SECTION = struct.Struct("<IIQQQQIIQQ")
DYNAMIC = struct.Struct("<qQ")
SHT_DYNAMIC = 6
DT_NEEDED = 1


@dataclass(frozen=True, slots=True)
class Elf:
    """`machine` is e_machine, `needed` the sonames of the libraries that it is linked with."""

    machine: int
    needed: tuple[str, ...]


def read_elf(path: Path) -> Elf | None:
    """Read a file; return None if it is no ELF file of 64 bits, little-endian."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None
        file.seek(0)
        data = file.read()
    # Elf64_Ehdr: e_machine at 18, e_shoff at 40, e_shentsize and e_shnum at 58.
    (machine,) = struct.unpack_from("<H", data, 18)
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [SECTION.unpack_from(data, start + number * size) for number in range(count)]
    needed: list[str] = []
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind == SHT_DYNAMIC:
            names = sections[link][4]
            entries = DYNAMIC.iter_unpack(data[offset : offset + length])
            needed += [_text(data, names + value) for tag, value in entries if tag == DT_NEEDED]
    return Elf(machine, tuple(needed))


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(0, at)].decode()
