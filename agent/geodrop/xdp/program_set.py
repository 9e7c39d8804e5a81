# SPDX-License-Identifier: Apache-2.0
"""A loaded program with its maps: two slots for tables, two for policies, the control word that chooses, counters.

What packets read is never changed. A slot is filled while the control word points elsewhere, and emptied only when a
grace period has passed since the control word pointed there.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from geodrop.engine.api import Difference
from geodrop.errors import ApplyError, UnavailableError
from geodrop.linux import clock, libbpf
from geodrop.xdp import layout as lay
from geodrop.xdp.control import Control, slot_of
from geodrop.xdp.encode import Encoded, table_parts
from geodrop.xdp.loader import MAPS, PROGRAMS, Loader, Sizes
from geodrop.xdp.pins import remove_set, repin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.control import ControlWord

Totals = dict[str, list[tuple[int, int]]]
"""Packets and bytes of each label's four counters: dropped or accepted for IPv4 and IPv6, then would-drop or never-drop
for IPv4 and IPv6.
"""

LABEL_BYTES = 192
"""Bytes reserved for each label. The labels map is one text with a line for each pair (see encode.label). A longer
label would be cut, but policy names are never that long.
"""

OUTER = {"tables": "tables", "policy": "policies"}
"""The map of maps that holds the inner maps of a kind."""

PIECE = 64 << 10
"""Bytes written and compared at a time: few enough to be still in the CPU cache for the comparison."""

PAGE = mmap.PAGESIZE
"""Even an array of one small value is mapped as a page."""

QUESTION = struct.Struct("=QQII")
"""struct question of bpf/layout.h."""


class Descriptors(dict[str, int]):
    """Descriptors of what is pinned in a folder, by name; each is opened on first use."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = str(folder)

    def __missing__(self, name: str) -> int:
        self[name] = libbpf.get(f"{self._folder}/{name}")
        return self[name]

    def close(self) -> None:
        """Close the open descriptors."""
        while self:
            os.close(self.popitem()[1])


@dataclass
class ProgramSet:
    """An open set of pins. Closing it closes descriptors; what is pinned stays."""

    folder: Path
    fds: Descriptors
    sizes: Sizes
    _labels: dict[str, int] | None = field(default=None, repr=False)

    @classmethod
    def load(cls, loader: Loader, folder: Path, sizes: Sizes) -> ProgramSet:
        """Load a program into an empty folder; remove the folder if that fails.

        Raises what the loader raises, and UnavailableError for a program of another version than this code.
        """
        try:
            loader.load(folder, sizes)
            _check_layout(loader, folder)
            for name, size, entries in (
                ("labels", LABEL_BYTES, sizes.pairs),
                ("carried", ctypes.sizeof(lay.CounterLayout), sizes.pairs * 4),
            ):
                with libbpf.closing(libbpf.create_array(f"geodrop_{name}", size, entries)) as fd:
                    libbpf.pin(fd, str(folder / name))
            opened = cls.open(folder)
        except BaseException:
            remove_set(folder)
            raise
        opened.sizes = sizes
        return opened

    @classmethod
    def open(cls, folder: Path) -> ProgramSet:
        """Open what is pinned. Raises OSError if something is missing, as after a load that was killed."""
        there = os.listdir(folder)
        for name in (*PROGRAMS, *MAPS, "labels", "carried"):
            if name not in there:
                raise FileNotFoundError(errno.ENOENT, "not pinned", str(folder / name))
        fds = Descriptors(folder)
        try:
            pairs = libbpf.map_info(fds["labels"]).max_entries
            return cls(folder, fds, Sizes(_entries(folder, "tables"), _entries(folder, "policy"), pairs))
        except BaseException:
            fds.close()
            raise

    def close(self) -> None:
        """Close every descriptor."""
        self.fds.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The control word

    def control(self) -> Control:
        """Return the control map, which every packet reads."""
        size = ctypes.sizeof(lay.ControlLayout)
        return Control.read(lay.ControlLayout.from_buffer_copy(libbpf.read_element(self.fds["control"], 0, size)))

    def word(self) -> ControlWord:
        """Return the control word that packets go by now."""
        return self.control().at(clock.monotonic())

    def publish(self, control: Control) -> None:
        """Switch by one aligned store of eight bytes, of which no packet can see half.

        A window is written before, where no packet reads it any more, and is seen by all before the store.
        """
        word = control.word.pack()
        with libbpf.map_memory(self.fds["control"], PAGE) as memory:
            held = lay.ControlLayout.from_buffer(memory)
            if control.deadline:
                slot = 1 - slot_of(held.word)
                libbpf.wait_for_readers()
                held.window[slot] = lay.WindowLayout(control.deadline, control.previous.pack())
                libbpf.wait_for_readers()
                word |= lay.CONTROL_WINDOW | lay.CONTROL_WINDOW_SLOT * slot
            held.word = word
            del held

    # Slots

    def is_intact(self) -> bool:
        """Tell whether packets go by the maps that are pinned.

        Another program may have removed a pin, or put another map into a slot: then nobody can tell what judges.
        """
        while True:
            control = self.control()
            if all(self._is_read(kind, slot) for word in control.words for kind, slot in word.slots):
                return True
            if self.control() == control:  # else a switch came in between, and what it left is gone
                return False

    def policy_bytes(self, slot: int) -> bytes:
        """Return everything that a policy slot holds. Raises OSError if the slot is empty."""
        with self._slot("policy", slot, self.sizes.elements * lay.POLICY_BYTES) as memory:
            return memory[:]

    def head(self, slot: int) -> lay.PolicyLayout:
        """Return a copy of element 0 of a policy slot. Raises OSError if the slot is empty."""
        with self._slot("policy", slot, lay.POLICY_BYTES) as memory:
            return lay.PolicyLayout.from_buffer_copy(memory, 0)

    def tables_digest(self, slot: int) -> bytes:
        """Return the digest of the tables that a policy slot refers to. Raises OSError if the slot is empty."""
        with self._slot("policy", slot, PAGE) as memory:
            at = lay.PolicyLayout.tables_digest.offset
            return memory[at : at + 32]

    def policy_differs(self, slot: int, content: Encoded) -> bool:
        """Tell whether a slot holds other content. Raises OSError if the slot is empty."""
        with self._slot("policy", slot, self.sizes.elements * lay.POLICY_BYTES) as memory:
            return not all(_holds(memory, offset, part) for offset, part in content.parts())

    def fill_policy(self, slot: int, content: Encoded) -> None:
        """Write a policy into a slot and compare it with what it should hold.

        The slot keeps its map if it is the one that packets would read, since changing a map of maps waits for a grace
        period. If `mark_unused` marked the slot, that period has already passed; else this method waits for it.
        """
        if self._is_read("policy", slot):
            fd = libbpf.get(f"{self.folder}/policy{slot}")
        else:
            fd = libbpf.create_array(f"geodrop_policy{slot}", lay.POLICY_BYTES, self.sizes.elements)
            try:
                self._put("policy", slot, fd)
            except BaseException:
                os.close(fd)
                raise
        size = lay.POLICY_BYTES + -(-content.rows.itemsize * len(content.rows) // PAGE) * PAGE
        with libbpf.closing(fd), libbpf.map_memory(fd, size) as memory:
            at = lay.PolicyLayout.generation.offset
            if any(memory[at : at + 8]):
                libbpf.wait_for_readers()
            if not all(_written(memory, offset, part) for offset, part in content.parts()):
                raise ApplyError("the policy map does not hold what was written to it; nothing was switched")

    def mark_unused(self, slot: int) -> None:
        """Wait until no packet reads a policy slot any more, then mark it as unused."""
        libbpf.wait_for_readers()
        with (
            suppress(FileNotFoundError),
            libbpf.opened(f"{self.folder}/policy{slot}") as fd,
            libbpf.map_memory(fd, PAGE) as memory,
        ):
            at = lay.PolicyLayout.generation.offset
            memory[at : at + 8] = bytes(8)

    def fill_tables(self, slot: int, ruleset: Ruleset) -> None:
        """Put a new tables map into a slot, fill it, and compare it with what it should hold."""
        fd = libbpf.create_array(f"geodrop_tables{slot}", lay.SEGMENT_BYTES, self.sizes.segments)
        # Putting a map into a map of maps waits for a grace period, which takes as long as filling the map.
        with (
            libbpf.closing(fd),
            _meanwhile(lambda: self._put("tables", slot, fd)),
            libbpf.map_memory(fd, self.sizes.segments * lay.SEGMENT_BYTES) as memory,
        ):
            for name, offset, content in table_parts(ruleset):
                if not _written(memory, offset, content):
                    raise ApplyError(f"the tables map does not hold {name} as written; nothing was switched")

    def tables_differ(self, slot: int, ruleset: Ruleset, part: int = 0, parts: int = 1) -> list[Difference]:
        """Return a difference for each section of a ruleset that a slot does not hold; only part `part` (from 0) of
        `parts` is compared.
        """
        different: dict[str, None] = {}
        with self._slot("tables", slot, self.sizes.segments * lay.SEGMENT_BYTES) as memory:
            for name, offset, content in table_parts(ruleset):
                start, stop = len(content) * part // parts, len(content) * (part + 1) // parts
                if not _holds(memory, offset + start, content[start:stop]):
                    different[name] = None
        return [Difference(f"tables map, {name}", "as in the ruleset", "different") for name in different]

    def retire_tables(self, slot: int) -> None:
        """Empty a slot; returns when no packet can be reading it any more. The kernel then frees the map."""
        with suppress(FileNotFoundError):
            (self.folder / f"tables{slot}").unlink()
        with suppress(FileNotFoundError):
            libbpf.delete_element(self.fds["tables"], slot)

    def ask(self, slot: int, keys: Sequence[tuple[int, int, int]]) -> list[int]:
        """Return the zones of addresses, given as (family, upper key, lower key), as the program finds
        them in a slot.
        """
        zones: list[int] = []
        for start in range(0, len(keys), lay.MAX_QUESTIONS):
            some = keys[start : start + lay.MAX_QUESTIONS]
            asked = bytearray(ctypes.sizeof(lay.QuestionsLayout))
            struct.pack_into("=II", asked, 0, slot, len(some))
            for number, (family, high, low) in enumerate(some):
                QUESTION.pack_into(asked, 8 + QUESTION.size * number, high, low, family, 0)
            verdict, answer, _ = libbpf.run_program(self.fds["geodrop_ask"], bytes(asked))
            if verdict != 2:  # XDP_PASS; any other verdict: the slot is empty
                raise ApplyError(f"the program found nothing in tables slot {slot}")
            zones += [zone for *_, zone in QUESTION.iter_unpack(answer[8 : 8 + QUESTION.size * len(some)])]
        return zones

    # Counters

    def labels(self) -> dict[str, int]:
        """Return counter pairs by label, as of the first call."""
        if self._labels is None:
            with libbpf.map_memory(self.fds["labels"], self.sizes.pairs * LABEL_BYTES, writable=False) as memory:
                text = memory[: memory.find(b"\0")].decode()
            # Text behind the last line end was never finished, and nothing was counted under it.
            self._labels = {line: number for number, line in enumerate(text.split("\n")[:-1])}
        return self._labels

    def add_labels(self, wanted: Iterable[str]) -> dict[str, int]:
        """Give each label a counter pair, permanently; the caller has checked that there is room."""
        known = self.labels()
        missing = [label for label in wanted if label not in known]
        if missing:
            with libbpf.map_memory(self.fds["labels"], self.sizes.pairs * LABEL_BYTES) as memory:
                at = memory.rfind(b"\n", 0, memory.find(b"\0")) + 1
                for label in missing:
                    known[label] = len(known)
                    line = label.encode()[: LABEL_BYTES - 2] + b"\n"
                    memory[at : at + len(line)] = line
                    at += len(line)
        return known

    def totals(self, older: Totals | None = None) -> Totals:
        """Return packets and bytes of each pair's four counters, over all CPUs, with what earlier programs counted.

        Earlier totals were imported into this set; or they are given as `older`, while the earlier program still
        counts.
        """
        known = self.labels()
        cpus = libbpf.possible_cpus()
        size = self.sizes.pairs * 4 * ctypes.sizeof(lay.CounterLayout)
        with libbpf.map_memory(self.fds["carried"], size, writable=False) as memory:
            carried = memory[:]
        totals = {}
        for label, pair in known.items():
            counts = []
            for which in range(4):
                key = pair * 4 + which
                earlier = carried[16 * key : 16 * key + 16]
                if older is not None:
                    earlier = struct.pack("=QQ", *older[label][which]) if label in older else bytes(16)
                numbers = memoryview(libbpf.read_element(self.fds["counters"], key, 16 * cpus) + earlier).cast("Q")
                counts.append((sum(numbers[0::2]), sum(numbers[1::2])))
            totals[label] = counts
        return {**(older or {}), **totals}

    def import_totals(self, totals: Totals) -> None:
        """Import what an older program counted."""
        known = self.add_labels(totals)
        size = self.sizes.pairs * 4 * ctypes.sizeof(lay.CounterLayout)
        with libbpf.map_memory(self.fds["carried"], size) as memory, memoryview(memory).cast("Q") as numbers:
            for label, counts in totals.items():
                for which, (packets, amount) in enumerate(counts):
                    at = (known[label] * 4 + which) * 2
                    numbers[at], numbers[at + 1] = packets, amount

    def _put(self, kind: str, slot: int, fd: int) -> None:
        """Put an inner map into its slot, which waits for a grace period, and pin it."""
        libbpf.write_element(self.fds[OUTER[kind]], slot, fd.to_bytes(4, "little"))
        repin(fd, self.folder / f"{kind}{slot}")

    def _is_read(self, kind: str, slot: int) -> bool:
        """Tell whether the map that is pinned for a slot is the one that packets find in it."""
        with suppress(FileNotFoundError), libbpf.opened(f"{self.folder}/{kind}{slot}") as fd:
            found = libbpf.read_element(self.fds[OUTER[kind]], slot, 4)
            return int.from_bytes(found, sys.byteorder) == int(libbpf.map_info(fd).id)
        return False

    def _slot(self, kind: str, slot: int, size: int) -> mmap.mmap:
        with libbpf.opened(f"{self.folder}/{kind}{slot}") as fd:
            return libbpf.map_memory(fd, size, writable=False)


def _check_layout(loader: Loader, folder: Path) -> None:
    """Ask the loaded program for its layout. A program of another layout would accept packets it cannot judge."""
    asked = bytes(ctypes.sizeof(lay.QuestionsLayout))
    with libbpf.opened(f"{folder}/geodrop_ask") as fd:
        _, answer, _ = libbpf.run_program(fd, asked)
    found = lay.QuestionsLayout.from_buffer_copy(answer).tables if len(answer) == len(asked) else 0
    if found != lay.LAYOUT_VERSION:
        raise UnavailableError(
            f"the XDP program of loader {loader.name} is of another version than this geodrop (layout "
            f"{found or 'unknown'}, not {lay.LAYOUT_VERSION})",
            "install geodrop again (in a checkout: make setup)",
        )


def _written(memory: mmap.mmap, offset: int, content: memoryview) -> bool:
    """Write, read back, and tell whether the two agree."""
    for start in range(0, len(content), PIECE):
        piece = bytes(content[start : start + PIECE])
        place = slice(offset + start, offset + start + len(piece))
        memory[place] = piece
        if memory[place] != piece:
            return False
    return True


def _holds(memory: mmap.mmap, offset: int, content: memoryview) -> bool:
    """Tell whether the content stands at an offset. Bytes compare far faster than memoryviews."""
    return all(
        memory[offset + start : offset + min(start + PIECE, len(content))] == content[start : start + PIECE].tobytes()
        for start in range(0, len(content), PIECE)
    )


@contextmanager
def _meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Run an action that mostly waits in a thread beside the body; its OSError is raised at the end."""
    failed: list[OSError] = []

    def act() -> None:
        try:
            action()
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


def _entries(folder: Path, kind: str) -> int:
    """Return the number of elements in the maps of a kind; 0 if both slots are empty."""
    for slot in (0, 1):
        with suppress(FileNotFoundError), libbpf.opened(f"{folder}/{kind}{slot}") as fd:
            return int(libbpf.map_info(fd).max_entries)
    return 0
