# SPDX-License-Identifier: Apache-2.0
"""Objects pinned for xdp that this process cannot read; for example, a daemon may have lost the right to bpf(2).

The links still judge packets, perhaps by an older policy. Removing them takes only write access to the folder, since a
link ends with its last pin. The other pinned objects, counters among them, are left to a process that can read them.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import Excused, PrivilegeError, UnavailableError
from geodrop.linux import capabilities, libbpf
from geodrop.xdp.pins import Pins
from geodrop.xdp.reading import unreadable

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Unread:
    """`links` holds the numbers of interfaces that a link is pinned for; None if even these cannot be read. `why` is
    the reason.
    """

    folder: Path
    links: tuple[int, ...] | None
    why: str

    @property
    def problem(self) -> str:
        """Say what is wrong, and the next step."""
        if self.links == ():
            return (
                f"what xdp has counted cannot be read ({self.why}), so totals are without it; next: "
                f"make install XDP=1, or if xdp is not to be used any more, as root: rm -r {self.folder}"
            )
        return (
            f"what xdp does on {self._where()} cannot be read ({self.why}): packets are judged by it too, perhaps by "
            f"an older policy; next: make install XDP=1, or as root: rm -r {self.folder}"
        )

    def release(self) -> str:
        """Remove the links; return what could not be removed. Call it only if another engine judges
        their interfaces.
        """
        if self.links is None:
            return f"xdp may go on judging: {self.why}"
        for number in self.links:
            path = self.folder / "links" / str(number)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                return f"xdp goes on judging on {_name(number)}: {path} cannot be removed ({error.strerror})"
        return ""

    def _where(self) -> str:
        return "unknown interfaces" if self.links is None else ", ".join(map(_name, self.links))

    def remove(self) -> bool:
        """Remove everything that is pinned. Raises PrivilegeError; UnavailableError if something else is
        in the folder.
        """
        try:
            Pins(self.folder).remove()
        except PermissionError as error:
            raise PrivilegeError(
                f"{error.filename} cannot be removed, and xdp goes on judging", f"as root: rm -r {self.folder}"
            ) from error
        return True


def unread(pins: Pins) -> Unread | None:
    """Return what is pinned, if this process may not read it; None if it may, or if nothing is pinned.

    Raises UnavailableError if it cannot be read just now, for lack of descriptors or memory.
    """
    try:
        links, sets = tuple(pins.link_indexes()), pins.sets()
    except PermissionError as error:
        return Unread(pins.folder, None, f"{error.filename}: {error.strerror}")
    for path in [*(pins.links / str(number) for number in links), *(folder / "control" for folder in sets)]:
        try:
            os.close(libbpf.get(str(path)))
        except PermissionError as error:
            lacking = capabilities.missing(("CAP_BPF",))
            return Unread(pins.folder, links, f"{lacking[0]} is missing" if lacking else f"bpf(2): {error.strerror}")
        except UnavailableError as error:
            return Unread(pins.folder, links, error.message)
        except FileNotFoundError:
            continue  # left by a killed load, or gone in the meantime
        except OSError as error:
            # The cause may pass, so nothing is released for it.
            raise unreadable(error) from error
        return None
    return None


def _name(number: int) -> str:
    with Excused(errno.ENXIO, errno.ENODEV):
        return socket.if_indextoname(number)
    return f"interface {number}"
