"""What the engine asks of a loader, and what its loaders have in common.

Two load the same program: `libbpf_loader` the object that `make setup` built, `bcc_loader` one that it builds on the
host (docs/decisions/0012-two-loaders.md). The maps are the same, whoever loads: `maps` makes them.
"""

from __future__ import annotations

import contextlib
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from geodrop.linux import libbpf
from geodrop.xdp import layout as lay
from geodrop.xdp.verifier_log import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PROGRAMS = ("geodrop", "geodrop_ask")
MAPS = ("control", "tables", "policies", "counters")
LOG_LINES = 40
"""The end of a log is what an operator needs of it."""


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
        """Names the program: another version needs loading anew. Hexadecimal digits.

        Raises UnavailableError, naming what is missing, where this loader cannot work.
        """

    def load(self, folder: Path, sizes: Sizes) -> None:
        """Pin PROGRAMS and MAPS in an empty folder of a bpffs.

        Raises UnavailableError when the kernel lacks something, PrivilegeError, and ApplyError when the verifier
        refuses; whatever was pinned is for the caller to remove.
        """


def with_frags_first(load: Callable[[int], None], *, readable: bool) -> None:
    """Load with the flag `xdp.frags`, for jumbo frames; without where that fails: Linux before 5.18 does not know it.

    Without, too, for the program that cannot read frames in several buffers (bpf/parse.h: the one without a clock). The
    kernel then hands it none: it refuses to attach it where there are some, or puts each of them together.
    Raises the OSError of the last attempt.
    """
    if not readable:
        load(0)
        return
    try:
        load(libbpf.HAS_FRAGS)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOMEM):
            raise
        load(0)


@contextlib.contextmanager
def explained(log: Sequence[str]) -> Iterator[None]:
    """Turn the kernel's refusals into errors for operators; `log` is what was said by then."""
    try:
        yield
    except OSError as error:
        raise refused(error, log) from error


def _class(needed: int, least: int) -> int:
    return max(least, 1 << max(needed - 1, 0).bit_length())
