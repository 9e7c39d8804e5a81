# SPDX-License-Identifier: Apache-2.0
"""A generation that is ready: links are added, packets are switched to it, and then the old one is removed.

Before `switch` nothing changes except for new links, which judge by what was in force before. The caller ends with
`undo`, which is possible at any point, or with `finish`.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.errors import ApplyError, UnavailableError
from geodrop.linux import clock, libbpf
from geodrop.xdp import links
from geodrop.xdp.pins import remove_set
from geodrop.xdp.program_set import ProgramSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.xdp.control import Control
    from geodrop.xdp.links import PinnedLink
    from geodrop.xdp.pins import Pins


@dataclass
class StagedPrograms:
    """`old` is the control map found in `programs`, `new` what to publish; they are equal if nothing is new.

    If `new` has a window, its deadline is given with the switch. `seconds` is the duration of each phase; `note` says
    what failed after the switch.
    """

    pins: Pins
    programs: ProgramSet
    old: Control
    new: Control
    modes: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    switched: bool = False
    note: str = ""
    _found: list[PinnedLink] = field(default_factory=list)
    _added: list[int] = field(default_factory=list)
    _moved: list[PinnedLink] = field(default_factory=list)
    _kept: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._found = links.observe(self.pins)

    def attach(self, names: Sequence[str]) -> dict[str, UnavailableError]:
        """Attach the program to those interfaces that lack it; return the refusals, by interface name.

        Raises ApplyError if the kernel refuses for another reason, and PrivilegeError.
        """
        refused = {}
        there = {link.name for link in self._found}
        for name in names:
            if name not in there:
                try:
                    with _kernel():
                        self._added.append(links.attach(self.pins, self._program, name, modes=self.modes))
                except UnavailableError as error:
                    refused[name] = error
        return refused

    def switch(self, names: Sequence[str], deadline: int = 0) -> None:
        """Publish: from here on this generation judges packets. `names` are the interfaces whose links stay.

        A generation that is not confirmed judges until `deadline`, in nanoseconds of the kernel's CLOCK_MONOTONIC.
        Raises ApplyError if the generation was not confirmed before and it is too late.
        """
        if self.new.deadline:
            self.new = self.new._replace(deadline=deadline)
        elif self.old.word == self.new.word and self.old.is_over(clock.monotonic()):
            raise ApplyError(f"too late: the kernel has gone back from generation {self.old.word.generation}")
        self.switched, self._kept = True, names
        with _kernel():
            number = libbpf.program_info(self._program).id
            if self.new != self.old:
                self.programs.publish(self.new)
            for link in self._found:
                if link.program != number:
                    links.move(self.pins, link.ifindex, self._program)
                    self._moved.append(link)

    def undo(self) -> None:
        """Restore the previous state. Old programs return to their links first, so that every packet is judged."""
        for link in self._moved:
            with _program_of(self.pins, link.program) as program:
                if program is not None:
                    links.move(self.pins, link.ifindex, program)
        if self.switched:
            self.programs.publish(self.old)
        for ifindex in self._added:
            links.detach(self.pins, ifindex)
        discard(self.programs, self.old, self.new)

    def finish(self) -> None:
        """Free what no packet reads any more: the other slots, older programs, links that should not stay."""
        try:
            if self.new != self.old:
                for slot in {0, 1} - self.new.policies:
                    self.programs.mark_unused(slot)
                for slot in {0, 1} - self.new.tables:
                    self.programs.retire_tables(slot)
            kept = set(self._kept)
            stay = {link.ifindex for link in links.observe(self.pins) if link.name in kept}
            for ifindex in self.pins.link_indexes():
                if ifindex not in stay:
                    links.detach(self.pins, ifindex)
            import_and_remove_older(self.pins, self.programs)
        except OSError as error:
            self.note = f"left for the next load to clean up: {error.strerror}"

    @property
    def _program(self) -> int:
        return self.programs.fds["geodrop"]


def discard(programs: ProgramSet, old: Control, new: Control) -> None:
    """Empty the slots that were filled; the policy map stays for the next fill, since no packet has read it."""
    for slot in new.policies - old.policies:
        programs.mark_unused(slot)
    for slot in new.tables - old.tables:
        programs.retire_tables(slot)


def import_and_remove_older(pins: Pins, programs: ProgramSet) -> None:
    """Import what sets of other programs have counted, and remove these sets."""
    for folder in pins.sets():
        if folder != programs.folder:
            # A killed load leaves an incomplete set, which has counted nothing.
            with suppress(FileNotFoundError), ProgramSet.open(folder) as older:
                programs.import_totals(older.totals())
            remove_set(folder)


@contextmanager
def _kernel() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ApplyError(f"the kernel refused ({error.strerror}); what was in force before still is") from error


@contextmanager
def _program_of(pins: Pins, number: int) -> Iterator[int | None]:
    """Yield the descriptor of the program of that number, from the set that it is pinned in; None if there is none."""
    for folder in pins.sets():
        with suppress(FileNotFoundError), libbpf.opened(folder / "geodrop") as fd:
            if libbpf.program_info(fd).id == number:
                yield fd
                return
    yield None
