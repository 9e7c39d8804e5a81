# SPDX-License-Identifier: Apache-2.0
"""Load the object that `make setup` built, with libbpf: the host needs no compiler and no headers."""

from __future__ import annotations

import functools
import hashlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.errors import UnavailableError
from geodrop.linux import libbpf
from geodrop.xdp.loader import PROGRAMS, explained, with_frags_first
from geodrop.xdp.maps import pinned_maps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.xdp.loader import Sizes

OBJECTS = Path(__file__).parent


class LibbpfLoader:
    """The loader that needs least: libbpf.so.1 and the object."""

    name = "libbpf"

    def __init__(self, objects: Path = OBJECTS) -> None:
        self.objects = objects

    def version(self) -> str:
        """Return a version made from the object's content."""
        path = self._object()
        return _digest(path, path.stat().st_mtime_ns)

    def load(self, folder: Path, sizes: Sizes) -> None:
        """Open the object, give it the maps, load its programs and pin them."""
        with libbpf.Log() as log, explained(log.lines), pinned_maps(folder, sizes) as maps:
            with_frags_first(functools.partial(self._load, folder, maps), readable=libbpf.has_tai_clock())

    def _load(self, folder: Path, maps: Mapping[str, int], flags: int) -> None:
        library = libbpf.library()
        with ExitStack() as stack:
            opened = library.bpf_object__open_file(os.fsencode(self._object()), None)
            if not opened:
                raise UnavailableError(f"{self._object()} cannot be read as a BPF object", "install geodrop again")
            stack.callback(library.bpf_object__close, opened)
            for name, fd in maps.items():
                declared = library.bpf_object__find_map_by_name(opened, name.encode())
                libbpf.call("bpf_map__reuse_fd", declared, fd)
            programs = {name: library.bpf_object__find_program_by_name(opened, name.encode()) for name in PROGRAMS}
            for program in programs.values():
                libbpf.call("bpf_program__set_flags", program, flags)
            libbpf.call("bpf_object__load", opened)
            for name, program in programs.items():
                libbpf.pin(library.bpf_program__fd(program), str(folder / name))

    def _object(self) -> Path:
        name = "geodrop.bpf.o" if libbpf.has_tai_clock() else "geodrop_no_clock.bpf.o"
        path = self.objects / name
        if not path.exists():
            step = "make install XDP=1, or in a checkout: make setup"
            raise UnavailableError(f"xdp not installed: {path} is not there", step)
        return path


@functools.cache
def _digest(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
