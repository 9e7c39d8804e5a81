# SPDX-License-Identifier: Apache-2.0
"""Who is exempt: exemptions.json, a list with the reason and the end of each exemption.

The kernel measures an exemption's time by CLOCK_MONOTONIC, which nobody can set and which starts from zero at each
boot. So the file says both: the moment in UTC, and the deadline on that clock, with the boot in which the exemption was
last put in force. In the boot in which the exemption was made, only the deadline counts, whatever is done to the time
of day. After another boot the time of day counts; if it is earlier than the exemption itself, the clock is wrong, and
the exemption is held back. If it is only slow it may be set right later: so from then on whichever end comes first
counts.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from geodrop import formats, utc
from geodrop.addresses import network_of
from geodrop.errors import GeodropError
from geodrop.inputs import read_regular
from geodrop.linux.clock import monotonic
from geodrop.ruleset.fields import (
    FORMAT,
    LAST_MOMENT,
    Bounds,
    Invalid,
    Newer,
    decode,
    flag,
    listing,
    numbered,
    record,
    text,
    whole,
)
from geodrop.state import files
from geodrop.state.asker import MAX_NAME
from geodrop.state.names import ANY, MAX_TEXT
from geodrop.state.room import Room
from geodrop.state.this_boot import boot_identity
from geodrop.state.unwritten import Unwritten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    Network = IPv4Network | IPv6Network

MOST = 1_000
"""How many exemptions there may be at a time: each change compares all of them."""

SECOND = 1_000_000_000
"""In nanoseconds."""

CLOSE = 2.0
"""Seconds by which two clocks may differ and still say the same moment."""

_LONGEST = 64
"""Characters of a network, and of the id of a boot."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """All clocks at one time: `wall` in seconds since the epoch, `monotonic` in nanoseconds since the boot `boot`."""

    wall: float
    monotonic: int
    boot: str

    @classmethod
    def now(cls) -> ClockReading:
        """Read the clocks."""
        return cls(time.time(), monotonic(), boot_identity())


@dataclass(frozen=True, slots=True)
class Exemption:
    """One exemption: `source` is a network as text, `created` and `expires` are in seconds since the epoch.

    `deadline` is in nanoseconds of CLOCK_MONOTONIC, in the boot of the id `boot`, which is a later one than that in
    which it was made if `rebooted`. `user` is the name of who asked for it, `why` the reason.
    """

    source: str
    created: int
    expires: int
    boot: str
    deadline: int
    user: str = ""
    why: str = ""
    rebooted: bool = False

    @property
    def network(self) -> Network:
        """The network whose packets pass."""
        return network_of(self.source)

    def left(self, at: ClockReading) -> float | None:
        """Return how many seconds it lasts, 0 if it is over; None if it is held back because the clock is wrong."""
        if self.boot == at.boot:
            rest = max(self.deadline - at.monotonic, 0) / SECOND
            # Clocks that only drift apart do not move the end.
            slow = self.rebooted and rest - (self.expires - at.wall) > CLOSE
            return max(self.expires - at.wall, 0.0) if slow else rest
        return None if at.wall < self.created else max(self.expires - at.wall, 0.0)

    def until(self, at: ClockReading) -> float:
        """Return its end by the present time of day, in seconds since the epoch."""
        left = self.left(at)
        end = self.expires if left is None else at.wall + left
        return self.expires if abs(end - self.expires) <= CLOSE else end

    def anchored(self, at: ClockReading) -> Exemption:
        """Return it with the deadline of this boot, unless it is held back; an earlier one if the clock was slow."""
        left = self.left(at)
        if left is None or (self.boot == at.boot and left == max(self.deadline - at.monotonic, 0) / SECOND):
            return self
        return replace(self, boot=at.boot, deadline=at.monotonic + round(left * SECOND), rebooted=True)


def standing(exemptions: Iterable[Exemption], at: ClockReading) -> tuple[Exemption, ...]:
    """Return those that are not over, with the deadline of this boot; those that are held back stay as they are."""
    return tuple(one.anchored(at) for one in exemptions if one.left(at) != 0)


def held_back(exemptions: Iterable[Exemption], at: ClockReading) -> list[str]:
    """Return a line of text if the clock is earlier than exemptions that were made before it was last set."""
    found = [one for one in exemptions if one.left(at) is None]
    if not found:
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    made = utc.moment(max(one.created for one in found))
    said = f"{found[0].source}{more}: the exemption is held back, because the clock ({utc.moment(at.wall)}) is earlier"
    return [f"{said} than {made}, when it was made; next: set the clock"]


_RECORD = record(
    Exemption,
    ("user", "why", "rebooted"),
    others=True,
    source=text(_LONGEST),
    created=whole(0, LAST_MOMENT),
    expires=whole(0, LAST_MOMENT),
    boot=text(_LONGEST),
    deadline=whole(0, 1 << 63),
    user=text(MAX_NAME, ANY),
    why=text(MAX_TEXT, ANY),
    rebooted=flag,
)


def _exemption(value: object) -> Exemption:
    found = _RECORD(value)
    try:
        network_of(found.source)
    except ValueError:
        raise Invalid(f"{found.source} is no network") from None
    return found


def _all_of(exemptions: tuple[Exemption, ...]) -> tuple[Exemption, ...]:
    return exemptions


_CONTENT = record(_all_of, others=True, exemptions=listing(_exemption, MOST))
_FILE = numbered(formats.EXEMPTIONS, _CONTENT, before=_CONTENT)
"""The form of the file. The one before differs in having no number."""

_last: dict[Path, tuple[Exemption, ...]] = {}
"""What this process last wrote to a file, or first read from it: what the kernel is held to if it cannot be read."""

_BOUNDS = Bounds(16 << 20, 11 * MOST + 100)
"""Enough for the most exemptions with the longest names and reasons, whose characters take up to 12 bytes each."""


class Exemptions:
    """The exemptions of one state directory. A writer holds state.lock.exclusive."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "exemptions.json"
        self._unwritten = Unwritten(folder)
        self._room = Room(folder)

    def read(self) -> tuple[Exemption, ...] | None:
        """Return all exemptions, also those that are over; None if they cannot be read."""
        try:
            held = self._unwritten.exemptions()
            found = held if held is not None else decode(read_regular(self._path, _BOUNDS.size), _BOUNDS)
            known = _FILE(found)
        except FileNotFoundError:
            known = ()
        except (Invalid, OSError):
            return None
        # Only a writer replaces what is remembered: a slow reader might remember an older list.
        _last.setdefault(self._path, known)
        return known

    def read_or_last(self) -> tuple[Exemption, ...] | None:
        """Return all exemptions. If they cannot be read, return those that this process last read or wrote, or None."""
        found = self.read()
        return _last.get(self._path) if found is None else found

    def note(self, exemptions: Sequence[Exemption]) -> None:
        """Write the exemptions after the kernel has changed; if that fails, keep them in /run (see `unwritten`)."""
        stored = {FORMAT: formats.EXEMPTIONS.number, "exemptions": [asdict(one) for one in exemptions]}
        _last[self._path] = tuple(exemptions)
        try:
            self._write(stored)
        except GeodropError as error:
            self._unwritten.hold(error, exemptions=stored)

    def write_back(self) -> None:
        """Write what could not be written before. Raises PrivilegeError or ApplyError."""
        if (held := self._unwritten.read().exemptions) is not None:
            self._write(held)

    def problems(self, at: ClockReading) -> list[str]:
        """Return a line of text for each thing that keeps an exemption from being in force."""
        found = self.read()
        if found is None:
            newer = self._newer()
            why = formats.by_newer(newer) if newer else "cannot be read"
            said = f"{self._path}: {why}, so exemptions stay as they are, until the next boot"
            return [f"{said}; next: move it away, and exempt again who has to be"]
        return held_back(found, at)

    def _newer(self) -> int:
        """Return the format of the file if a newer geodrop wrote it; else 0."""
        try:
            _FILE(decode(read_regular(self._path, _BOUNDS.size), _BOUNDS))
        except Newer as newer:
            return newer.number
        except (Invalid, OSError):
            pass
        return 0

    def _write(self, stored: object) -> None:
        if newer := self._newer():
            raise formats.EXEMPTIONS.refusal(newer, str(self._path), "")
        content = json.dumps(stored).encode()
        self._room.write(lambda: files.replace(self._path, lambda file: file.write(content)))
        self._unwritten.done(exemptions=True)
