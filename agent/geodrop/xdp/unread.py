"""What is pinned for xdp and cannot be read by this process, such as a daemon whose right to bpf(2) was taken away.

Its links go on judging packets, perhaps by an older policy. To let them go takes no right but to the folder: a link
ends with its last pin. What else is pinned there, the counters, is left to whoever can read it.
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
    """`links` are numbers of the interfaces that a link is pinned for, None if not even that can be read; and why."""

    folder: Path
    links: tuple[int, ...] | None
    why: str

    @property
    def problem(self) -> str:
        """What that means, and the next step."""
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
        """Let go of the links; says what could not be. Only for when another engine judges their interfaces."""
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
        return "interfaces that cannot be told" if self.links is None else ", ".join(map(_name, self.links))

    def remove(self) -> bool:
        """Remove all that is pinned; raises PrivilegeError, and UnavailableError where something else is in the way."""
        try:
            Pins(self.folder).remove()
        except PermissionError as error:
            raise PrivilegeError(
                f"{error.filename} cannot be removed, and xdp goes on judging", f"as root: rm -r {self.folder}"
            ) from error
        return True


def unread(pins: Pins) -> Unread | None:
    """What is pinned, if this process may not read it; None if it may, or there is nothing.

    Raises UnavailableError where it cannot be read just now, for want of a descriptor or of memory.
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
            continue  # what a killed load left, or gone just now
        except OSError as error:
            # Nothing of ours keeps it from us for good: nothing is let go of for that.
            raise unreadable(error) from error
        return None
    return None


def _name(number: int) -> str:
    with Excused(errno.ENXIO, errno.ENODEV):
        return socket.if_indextoname(number)
    return f"interface {number}"
