"""A loaded program with its maps: two slots for tables, two for policies, the control word that chooses, counters.

Nothing a packet can see is ever changed: a slot is filled while the control word points elsewhere, and emptied only
when a grace period has passed since it pointed there.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

from geodrop.dataplane.xdp import layouts as lay
from geodrop.dataplane.xdp import libbpf
from geodrop.dataplane.xdp.encode import Label, table_parts
from geodrop.dataplane.xdp.loader import MAPS, PROGRAMS, Loader, Sizes
from geodrop.dataplane.xdp.pins import remove_set, repin
from geodrop.errors import ApplyError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset

Totals = dict[Label, list[tuple[int, int]]]
"""Packets and bytes of the four counters of each label: dropped or accepted, and what would be or never is; each for
IPv4 first."""

LABEL_BYTES = 192
"""A service's name, a zero byte and a label; what is longer is cut, which policy names do not reach."""

CONTROL_BYTES = 4096
"""An array of one value is mapped as a page."""


class Word(NamedTuple):
    """The control word, taken apart. Generation 0: nothing is in force."""

    generation: int = 0
    tables: int = 0
    policy: int = 0

    @classmethod
    def unpack(cls, word: int) -> Word:
        """From the number in the map."""
        if not word & lay.CONTROL_IN_FORCE:
            return cls()
        return cls(
            word >> lay.CONTROL_GENERATION_SHIFT,
            int(word & lay.CONTROL_TABLES != 0),
            int(word & lay.CONTROL_POLICY != 0),
        )

    def pack(self) -> int:
        """The number in the map."""
        if not self.generation:
            return 0
        slots = lay.CONTROL_TABLES * self.tables | lay.CONTROL_POLICY * self.policy
        return self.generation << lay.CONTROL_GENERATION_SHIFT | lay.CONTROL_IN_FORCE | slots


@dataclass
class Programs:
    """An open set of pins. Closing it closes descriptors; what is pinned stays."""

    folder: Path
    fds: dict[str, int]
    sizes: Sizes
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)

    @classmethod
    def load(cls, loader: Loader, folder: Path, sizes: Sizes) -> Programs:
        """Load a program into an empty folder; removes the folder again if that fails."""
        try:
            loader.load(folder, sizes)
            for name, size, entries in (
                ("labels", LABEL_BYTES, sizes.pairs),
                ("carried", ctypes.sizeof(lay.Counter), sizes.pairs * 4),
            ):
                fd = libbpf.create_array(f"geodrop_{name}", size, entries)
                try:
                    libbpf.pin(fd, str(folder / name))
                finally:
                    os.close(fd)
            opened = cls.open(folder)
        except BaseException:
            remove_set(folder)
            raise
        opened.sizes = sizes
        return opened

    @classmethod
    def open(cls, folder: Path) -> Programs:
        """Open what is pinned; raises OSError when something is missing, as after a load that was killed."""
        with ExitStack() as stack:
            fds = {}
            for name in (*PROGRAMS, *MAPS, "labels", "carried"):
                fds[name] = libbpf.get(str(folder / name))
                stack.callback(os.close, fds[name])
            pairs = libbpf.map_info(fds["labels"]).max_entries
            sizes = Sizes(_entries(folder, "tables"), _entries(folder, "policy"), pairs)
            return cls(folder, fds, sizes, stack.pop_all())

    def close(self) -> None:
        """Close every descriptor."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The control word

    def word(self) -> Word:
        """What every packet reads."""
        value = libbpf.read_element(self.fds["control"], 0, 8)
        return Word.unpack(int.from_bytes(value, "little"))

    def publish(self, word: Word) -> None:
        """Switch: one aligned store of eight bytes, which no packet can see half of."""
        with libbpf.map_memory(self.fds["control"], CONTROL_BYTES) as memory:
            control = ctypes.c_uint64.from_buffer(memory)
            control.value = word.pack()
            del control

    # Slots

    def policy_bytes(self, slot: int) -> bytes:
        """All that a policy slot holds; raises OSError if it is empty."""
        with self._slot("policy", slot, self.sizes.elements * lay.POLICY_BYTES) as memory:
            return memory[:]

    def head(self, slot: int) -> lay.Policy:
        """Element 0 of a policy slot, copied; raises OSError if it is empty."""
        with self._slot("policy", slot, self.sizes.elements * lay.POLICY_BYTES) as memory:
            return lay.Policy.from_buffer_copy(memory, 0)

    def fill_policy(self, slot: int, content: bytes | bytearray) -> None:
        """Write a policy into a slot and compare it with what it should hold.

        The slot keeps its map, since a map of maps makes every change wait for a grace period. That period has passed
        already where `rest` left its mark; else it is waited for here.
        """
        size = self.sizes.elements * lay.POLICY_BYTES
        try:
            fd = libbpf.get(str(self.folder / f"policy{slot}"))
        except FileNotFoundError:
            fd = self._fresh("policy", "policies", slot, lay.POLICY_BYTES, self.sizes.elements)
        with self._closing(fd), libbpf.map_memory(fd, size) as memory:
            if lay.Policy.from_buffer_copy(memory, 0).generation:
                libbpf.wait_for_readers()
            memory[: len(content)] = content
            if memory[: len(content)] != content:
                raise ApplyError("the policy map does not hold what was written to it; nothing was switched")

    def rest(self, slot: int) -> None:
        """Mark a policy slot as one that no packet reads any more, once that is so."""
        libbpf.wait_for_readers()
        with suppress(FileNotFoundError):
            fd = libbpf.get(str(self.folder / f"policy{slot}"))
            with self._closing(fd), libbpf.map_memory(fd, lay.POLICY_BYTES) as memory:
                at = lay.Policy.generation.offset
                memory[at : at + 8] = bytes(8)

    def fill_tables(self, slot: int, ruleset: Ruleset) -> None:
        """Put a new tables map into a slot and compare it with what it should hold."""
        size = self.sizes.segments * lay.SEGMENT_BYTES
        fd = self._fresh("tables", "tables", slot, lay.SEGMENT_BYTES, self.sizes.segments)
        with self._closing(fd), libbpf.map_memory(fd, size) as memory, memoryview(memory) as view:
            for name, offset, content in table_parts(ruleset):
                view[offset : offset + len(content)] = content
                if view[offset : offset + len(content)] != content:
                    raise ApplyError(f"the tables map does not hold {name} as written; nothing was switched")

    def tables_differ(self, slot: int, ruleset: Ruleset) -> list[str]:
        """Sections of a ruleset that a slot does not hold."""
        size = self.sizes.segments * lay.SEGMENT_BYTES
        with self._slot("tables", slot, size) as memory, memoryview(memory) as view:
            different = {
                name: None
                for name, offset, content in table_parts(ruleset)
                if view[offset : offset + len(content)] != content
            }
            return list(different)

    def retire_tables(self, slot: int) -> None:
        """Empty a slot; returns when no packet can be reading it any more. The kernel then frees it by itself."""
        with suppress(FileNotFoundError):
            (self.folder / f"tables{slot}").unlink()
        with suppress(FileNotFoundError):
            libbpf.delete_element(self.fds["tables"], slot)

    def ask(self, slot: int, keys: Sequence[tuple[int, int, int]]) -> list[int]:
        """Zones of addresses, given as (family, upper key, lower key), as the program finds them in a tables slot."""
        zones: list[int] = []
        for start in range(0, len(keys), lay.MAX_QUESTIONS):
            some = keys[start : start + lay.MAX_QUESTIONS]
            asked = lay.Questions(tables=slot, count=len(some))
            for question, (family, high, low) in zip(asked.question, some, strict=False):
                question.family, question.high, question.low = family, high, low
            verdict, answer, _ = libbpf.run_program(self.fds["geodrop_ask"], bytes(asked))
            if verdict != 2:  # XDP_PASS; anything else: the slot is empty
                raise ApplyError(f"the program found nothing in tables slot {slot}")
            answers = lay.Questions.from_buffer_copy(answer)
            zones += [question.zone for question in answers.question[: len(some)]]
        return zones

    # Counters

    def labels(self) -> dict[Label, int]:
        """Counter pairs by what they count."""
        found = {}
        with libbpf.map_memory(self.fds["labels"], self.sizes.pairs * LABEL_BYTES, writable=False) as memory:
            for number in range(self.sizes.pairs):
                text = memory[number * LABEL_BYTES : (number + 1) * LABEL_BYTES].rstrip(b"\0")
                if not text:
                    break
                service, _, label = text.decode().partition("\t")
                found[Label(service, label)] = number
        return found

    def add_labels(self, wanted: Iterable[Label]) -> dict[Label, int]:
        """Give each label a pair of its own, for good; the caller has seen to it that there is room."""
        known = self.labels()
        with libbpf.map_memory(self.fds["labels"], self.sizes.pairs * LABEL_BYTES) as memory:
            for label in wanted:
                if label not in known:
                    known[label] = len(known)
                    text = f"{label.service}\t{label.label}".encode()[: LABEL_BYTES - 1]
                    at = known[label] * LABEL_BYTES
                    memory[at : at + len(text)] = text
        return known

    def totals(self, older: Totals | None = None) -> Totals:
        """Packets and bytes of the four counters of each pair, over all CPUs, with what earlier programs counted.

        That was carried over, or is given as `older` while the earlier program is still there and may be counting.
        """
        known = self.labels()
        cpus = libbpf.possible_cpus()
        size = self.sizes.pairs * 4 * ctypes.sizeof(lay.Counter)
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

    def carry(self, totals: Totals) -> None:
        """Take over what an older program counted."""
        known = self.add_labels(totals)
        size = self.sizes.pairs * 4 * ctypes.sizeof(lay.Counter)
        with libbpf.map_memory(self.fds["carried"], size) as memory, memoryview(memory).cast("Q") as numbers:
            for label, counts in totals.items():
                for which, (packets, amount) in enumerate(counts):
                    at = (known[label] * 4 + which) * 2
                    numbers[at], numbers[at + 1] = packets, amount

    def _fresh(self, kind: str, outer: str, slot: int, size: int, entries: int) -> int:
        fd = libbpf.create_array(f"geodrop_{kind}{slot}", size, entries)
        try:
            libbpf.write_element(self.fds[outer], slot, fd.to_bytes(4, "little"))
            repin(fd, self.folder / f"{kind}{slot}")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _slot(self, kind: str, slot: int, size: int) -> mmap.mmap:
        fd = libbpf.get(str(self.folder / f"{kind}{slot}"))
        with self._closing(fd):
            return libbpf.map_memory(fd, size, writable=False)

    @staticmethod
    def _closing(fd: int) -> ExitStack:
        stack = ExitStack()
        stack.callback(os.close, fd)
        return stack


def _entries(folder: Path, kind: str) -> int:
    """How many elements the maps of a kind have; 0 when both slots are empty, which holds nothing."""
    for slot in (0, 1):
        with suppress(FileNotFoundError):
            fd = libbpf.get(str(folder / f"{kind}{slot}"))
            try:
                return int(libbpf.map_info(fd).max_entries)
            finally:
                os.close(fd)
    return 0
