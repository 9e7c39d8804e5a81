"""A generation that is ready: links are added, packets are switched to it, and then the old one is removed.

Before `switch` nothing changes except for new links, which judge by what was in force before. The caller ends with
`undo`, which is possible at any point, or with `finish`.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.errors import ApplyError, UnavailableError
from geodrop.linux import libbpf
from geodrop.xdp import links
from geodrop.xdp.pins import remove_set
from geodrop.xdp.program_set import ProgramSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.xdp.links import PinnedLink
    from geodrop.xdp.pins import Pins
    from geodrop.xdp.program_set import ControlWord


@dataclass
class StagedPrograms:
    """`old` is the control word found in `programs`, `word` the one to publish; they are equal if nothing is new.

    `seconds` is the duration of each phase; `note` says what failed after the switch.
    """

    pins: Pins
    programs: ProgramSet
    old: ControlWord
    word: ControlWord
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

    def switch(self, names: Sequence[str]) -> None:
        """Publish: from here on this generation judges packets. `names` are the interfaces whose links stay."""
        self.switched, self._kept = True, names
        with _kernel():
            number = libbpf.program_info(self._program).id
            self.programs.publish(self.word)
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
        discard(self.programs, self.old, self.word)

    def finish(self) -> None:
        """Free what no packet reads any more: the other slots, older programs, links that should not stay."""
        try:
            if self.word != self.old:
                self.programs.mark_unused(1 - self.word.policy)
                self.programs.retire_tables(1 - self.word.tables)
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


def discard(programs: ProgramSet, old: ControlWord, word: ControlWord) -> None:
    """Empty the slots that were filled; the policy map stays for the next fill, since no packet has read it."""
    if word != old:
        programs.mark_unused(word.policy)
        if word.tables != old.tables or not old.generation:
            programs.retire_tables(word.tables)


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
