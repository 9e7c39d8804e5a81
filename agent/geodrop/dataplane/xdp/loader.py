"""Loading the program: what the engine asks of a loader, and the one that loads the prebuilt object with libbpf."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from geodrop.dataplane.xdp import layouts as lay
from geodrop.dataplane.xdp import libbpf
from geodrop.errors import ApplyError, PrivilegeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

OBJECTS = Path(__file__).parent
PROGRAMS = ("geodrop", "geodrop_ask")
MAPS = ("control", "tables", "policies", "counters")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is fixed when a program is loaded: elements of a tables map and of a policy map, and counter pairs."""

    segments: int
    elements: int
    pairs: int

    def holds(self, other: Sizes) -> bool:
        """Whether all of another fits in."""
        return self.segments >= other.segments and self.elements >= other.elements and self.pairs >= other.pairs

    def rounded(self) -> Sizes:
        """The size class, so that a change of policy or database seldom needs another program."""
        return Sizes(-(-self.segments // 4) * 4, _class(self.elements, 2), _class(self.pairs * 2, 512))

    def memory(self, cpus: int) -> int:
        """Bytes of kernel memory with one generation in force."""
        return self.segments * lay.SEGMENT_BYTES + self.elements * lay.POLICY_BYTES + self.pairs * 64 * cpus


class Loader(Protocol):
    """Loads the program and pins it and its maps."""

    name: str

    def version(self) -> str:
        """Names the program: another version needs loading anew. Hexadecimal digits."""

    def load(self, folder: Path, sizes: Sizes) -> None:
        """Pin PROGRAMS and MAPS in an empty folder of a bpffs.

        Raises UnavailableError when the kernel lacks something, PrivilegeError, and ApplyError when the verifier
        refuses; whatever was pinned is for the caller to remove.
        """


class LibbpfLoader:
    """Loads the object that `make setup` built: no compiler and no headers on the host."""

    name = "libbpf"

    def __init__(self, objects: Path = OBJECTS) -> None:
        self.objects = objects

    def version(self) -> str:
        """By what the object holds."""
        path = self._object()
        return _digest(path, path.stat().st_mtime_ns)

    def load(self, folder: Path, sizes: Sizes) -> None:
        """Load with `xdp.frags` first, for jumbo frames; kernels before 5.18 do not know it."""
        with libbpf.Log() as log:
            try:
                self._load(folder, sizes, flags=libbpf.HAS_FRAGS)
            except OSError as first:
                if first.errno in (errno.EPERM, errno.ENOMEM):
                    raise _explained(first, log.lines) from first
                try:
                    self._load(folder, sizes, flags=0)
                except OSError as error:
                    raise _explained(error, log.lines) from error

    def _load(self, folder: Path, sizes: Sizes, flags: int) -> None:
        library = libbpf.library()
        with ExitStack() as stack:
            opened = library.bpf_object__open_file(os.fsencode(self._object()), None)
            if not opened:
                raise UnavailableError(f"{self._object()} cannot be read as a BPF object", "install geodrop again")
            stack.callback(library.bpf_object__close, opened)
            for name, size, entries in (
                ("tables", lay.SEGMENT_BYTES, sizes.segments),
                ("policies", lay.POLICY_BYTES, sizes.elements),
            ):
                template = libbpf.create_array("geodrop_template", size, entries)
                stack.callback(os.close, template)
                found = library.bpf_object__find_map_by_name(opened, name.encode())
                libbpf.call("bpf_map__set_inner_map_fd", found, template)
            counters = library.bpf_object__find_map_by_name(opened, b"counters")
            libbpf.call("bpf_map__set_max_entries", counters, sizes.pairs * 4)
            for name in PROGRAMS:
                program = library.bpf_object__find_program_by_name(opened, name.encode())
                libbpf.call("bpf_program__set_flags", program, flags)
            libbpf.call("bpf_object__load", opened)
            for name in MAPS:
                found = library.bpf_object__find_map_by_name(opened, name.encode())
                libbpf.pin(library.bpf_map__fd(found), str(folder / name))
            for name in PROGRAMS:
                program = library.bpf_object__find_program_by_name(opened, name.encode())
                libbpf.pin(library.bpf_program__fd(program), str(folder / name))

    def _object(self) -> Path:
        name = "geodrop.bpf.o" if libbpf.has_tai_clock() else "geodrop_no_clock.bpf.o"
        path = self.objects / name
        if not path.exists():
            raise UnavailableError(f"{path} is not there", "build it with: make setup")
        return path


@functools.cache
def _digest(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _explained(error: OSError, log: Sequence[str]) -> Exception:
    words = "\n".join(log[-40:])
    if error.errno == errno.EPERM:
        return PrivilegeError("the kernel does not let us load the XDP program", "run as root, or with CAP_BPF")
    if error.errno == errno.ENOMEM:
        return ApplyError("the kernel has no memory for the XDP program and its maps", "free some, or use nftables")
    return ApplyError(f"the kernel refused the XDP program ({error.strerror}):\n{words}", "use --engine nftables")


def _class(needed: int, least: int) -> int:
    return max(least, 1 << max(needed - 1, 0).bit_length())
