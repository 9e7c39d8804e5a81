# SPDX-License-Identifier: Apache-2.0
"""The protocol of loaders, and what they share.

Two loaders load the same program: `libbpf_loader` the object that `make setup` built, `bcc_loader` one that it builds
on the host (docs/decisions/0012-two-loaders.md). Both get their maps from `maps`.
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
MAPS = ("control", "tables", "policies", "counters", "exempt")
LOG_LINES = 40
"""Lines from the end of a log; an operator needs only these."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes that are fixed when a program is loaded: elements of a tables map and of a policy map, counter pairs."""

    segments: int
    elements: int
    pairs: int

    def holds(self, other: Sizes) -> bool:
        """Tell whether everything of these other sizes fits."""
        return self.segments >= other.segments and self.elements >= other.elements and self.pairs >= other.pairs

    def rounded(self) -> Sizes:
        """Return the size class, so that a change of policy or database seldom needs another program."""
        return Sizes(-(-self.segments // 4) * 4, _class(self.elements, 2), _class(self.pairs * 2, 512))

    def memory(self, cpus: int) -> int:
        """Return the bytes of kernel memory with one generation in force."""
        return self.segments * lay.SEGMENT_BYTES + self.elements * lay.POLICY_BYTES + self.pairs * 64 * cpus


class Loader(Protocol):
    """Loads the program, and pins it and its maps."""

    name: str

    def version(self) -> str:
        """Return the version of the program, in hexadecimal digits; another version has to be loaded.

        Raises UnavailableError, naming what is missing, if this loader cannot work.
        """

    def load(self, folder: Path, sizes: Sizes) -> None:
        """Pin PROGRAMS and MAPS in an empty folder of a bpffs.

        Raises UnavailableError if the kernel lacks something or the verifier refuses, PrivilegeError, and ApplyError if
        there is no memory. The caller removes whatever was pinned by then.
        """


def with_frags_first(load: Callable[[int], None], *, readable: bool) -> None:
    """Load with the flag `xdp.frags`, for jumbo frames; without it if that fails, since Linux before 5.18 lacks it.

    Load without it, too, if the program cannot read frames in several buffers (not `readable`; bpf/parse.h: the program
    without a clock). The kernel then gives it no such frames: it refuses to attach where they occur, or joins each one.
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
    """Turn the kernel's refusals into errors for operators; `log` collects what libbpf and the verifier print."""
    try:
        yield
    except OSError as error:
        raise refused(error, log) from error


def _class(needed: int, least: int) -> int:
    return max(least, 1 << max(needed - 1, 0).bit_length())
