# SPDX-License-Identifier: Apache-2.0
"""Build the tables of the XDP program from partitions into zones; bpf/layout.h describes the entries and lines.

An address is a 64-bit key: the upper half of an IPv6 address, or an IPv4 address shifted left by 32. The space of keys
is cut into 65,536 blocks, and a block is cut further wherever a line of 12 keys cannot tell all its zones apart. A
block that holds a single zone has the zone in its word and needs no line. Blocks are cut level by level, all blocks of
a level at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geodrop.geo.partition import changes, distinct

if TYPE_CHECKING:
    import numpy.typing as npt

    from geodrop.compile.zones import Zones
    from geodrop.geo.partition import Partition

    Ints = npt.NDArray[np.int64]
    Keys = npt.NDArray[np.uint64]

# These repeat bpf/layout.h and bpf/lookup.h; a test compares them.
ROOT_BITS = 16
MORE = 0x8000_0000
WORD_LINE_BITS = 27
NODE_WORDS = 16
NODE_BITS = {4: 4, 6: 8}
KEY_BITS = 15
LINE_KEYS = 12
CHILD = 0x8000
KEY_NEVER = 0x8000
MAX_CHILDREN = 7 << 16
MAX_DEPTH = 18

MAX_LINES = 1 << 21
"""Most lines: 128 MB. The world takes 16 MB of lines (DB-IP, June 2026), four times the world 65 MB."""

ENTRY = np.dtype([("line", "<u4"), ("shift", "u1"), ("bits", "u1"), ("lower", "u1"), ("unused", "u1")])
LINE = np.dtype([("keys", "<u2", 12), ("values", "<u2", 16), ("children", "<u4"), ("unused", "<u4")])

FILL = 4
"""A block gets at most one line per FILL boundaries: the levels that more lines save are not worth their memory."""


class _Blocks(NamedTuple):
    """Blocks of the key space still to be cut, one array element for each block.

    `first` and `last` are the range in _Keys of the boundaries strictly inside the block, `base` is the value at its
    start, `start` its first key, `width` the log2 of its size, `lower` whether its keys are lower halves.
    """

    first: Ints
    last: Ints
    base: Ints
    start: Keys
    width: Ints
    lower: Ints

    def take(self, chosen: npt.NDArray[Any]) -> _Blocks:
        return _Blocks(*(column[chosen] for column in self))


@dataclass(frozen=True, slots=True)
class _Keys:
    """Boundaries: from `keys[i]` on the value is `values[i]`. A negative value v leads to the lower halves of group ~v.

    The boundaries of the upper halves come first, then those of the lower halves of each split upper half in turn;
    `groups` has the index where each group begins. The lowest `grain` bits of all keys are 0.
    """

    keys: Keys
    values: Ints
    groups: Ints
    grain: int


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of both families: `roots` uint32[65536] by family, `children` of ENTRY, `lines` of LINE."""

    roots: dict[int, npt.NDArray[Any]]
    children: npt.NDArray[Any]
    lines: npt.NDArray[Any]
    depth: int

    def limit(self) -> str:
        """Return which limit of the XDP program is exceeded, with the figures; "" if none is."""
        for name, found, limit in (
            ("table entries", len(self.children), MAX_CHILDREN),
            ("table lines", len(self.lines), MAX_LINES),
            ("levels of tables", self.depth, MAX_DEPTH),
        ):
            if found > limit:
                return f"the address space needs {found:,} {name}, {limit:,} is the most"
        return ""

    def sections(self) -> dict[str, bytes]:
        """Return the ruleset's sections (see ruleset.model). If a limit is exceeded, only nftables can load it."""
        if passed := self.limit():
            return {"xdp/limit": passed.encode()}
        sections = {
            "xdp/ipv4": self.roots[4].tobytes(),
            "xdp/ipv6": self.roots[6].tobytes(),
            "xdp/children": self.children.tobytes(),
            "xdp/lines": self.lines.tobytes(),
        }
        digest = hashlib.sha256()
        for name, content in sections.items():
            digest.update(f"{name} {len(content)} ".encode())
            digest.update(content)
        return {**sections, "xdp/digest": digest.digest()}


def build_tables(zones: Zones) -> Tables:
    """Build the tables of both families."""
    builder = _Builder()
    roots = {partition.family: builder.add(partition) for partition in (zones.ipv4, zones.ipv6)}
    children = np.concatenate([np.zeros(0, ENTRY), *builder.children])
    return Tables(roots, children, np.concatenate(builder.lines), builder.depth)


class _Builder:
    """Collects lines and entries; children and lines of both families are numbered together."""

    def __init__(self) -> None:
        self.lines: list[npt.NDArray[Any]] = []
        self.line_count = 0
        self.children: list[npt.NDArray[Any]] = []
        self.child_count = 0
        self.depth = 0

    def add(self, partition: Partition) -> npt.NDArray[Any]:
        """Cut one family into blocks; return its root table."""
        keys = _keys(partition)
        blocks = _blocks(keys, np.arange(1 << ROOT_BITS, dtype=np.uint64) << np.uint64(64 - ROOT_BITS), 64 - ROOT_BITS)
        root = blocks.base.astype(np.uint32)
        cut = np.flatnonzero(blocks.last > blocks.first)
        pending = self._nodes(keys, blocks.take(cut), NODE_BITS[partition.family], root, cut)
        depth = 0
        while len(pending.first):
            depth += 1
            entries = np.zeros(len(pending.first), ENTRY)
            entries["lower"] = pending.lower
            bits = _choose_bits(keys, pending)
            entries["line"], entries["shift"], entries["bits"] = self._first_lines(bits), pending.width - bits, bits
            self.children.append(entries)
            pending = self._lay_out(keys, pending, bits)
        self.depth = max(self.depth, depth)
        return root

    def _nodes(self, keys: _Keys, blocks: _Blocks, bits: int, words: npt.NDArray[Any], at: Ints) -> _Blocks:
        """Add a node for each block, with the lines it leads to, and set the blocks' `words`.

        Returns the blocks that must be cut further.
        """
        words[at] = MORE | self.line_count + np.arange(len(at)) * ((1 << bits) // NODE_WORDS)
        width = 64 - ROOT_BITS - bits
        starts = blocks.start[:, None] + (np.arange(1 << bits, dtype=np.uint64) << np.uint64(width))
        parts = _blocks(keys, starts.ravel(), width)
        node = parts.base.astype(np.uint32)
        cut = np.flatnonzero(parts.last > parts.first)
        parts = parts.take(cut)
        self._add_lines(node.view(LINE))
        chosen = _choose_bits(keys, parts)
        node[cut] = MORE | chosen << WORD_LINE_BITS | self._first_lines(chosen)
        return self._lay_out(keys, parts, chosen)

    def _first_lines(self, bits: Ints) -> Ints:
        """Return the numbers of the first lines of the blocks that are laid out next, each with 2^bits lines."""
        count: Ints = 1 << bits
        first: Ints = self.line_count + np.cumsum(count) - count
        return first

    def _add_lines(self, lines: npt.NDArray[Any]) -> None:
        self.lines.append(lines)
        self.line_count += len(lines)

    def _lay_out(self, keys: _Keys, blocks: _Blocks, bits: Ints) -> _Blocks:
        """Fill the lines of blocks that are cut into 2^bits lines each.

        Returns the blocks that these lines cannot tell apart, in the order of the entries that will lead to them.
        """
        shift = blocks.width - bits
        spare = np.maximum(shift - KEY_BITS, 0)
        slot_bits = shift - spare
        count = 1 << bits
        before = np.cumsum(count) - count
        total = int(count.sum())

        offset, index, block, slot, between = _boundaries(keys, blocks, spare)

        # A run is a row of slots with one meaning: it starts with a line, at a boundary, or after a mixed slot.
        line_block = np.repeat(np.arange(len(count)), count)
        line_number = np.arange(total) - before[line_block]
        after = slot[between] + 1
        after_block = block[between]
        fits = after >> (slot_bits + bits)[after_block] == 0
        # All three are sorted, and a stable sort in numpy merges what is sorted.
        runs = np.sort(
            np.concatenate(
                [
                    line_block << 32 | line_number << slot_bits[line_block],
                    block << 32 | slot,
                    (after_block << 32 | after)[fits],
                ]
            ),
            kind="stable",
        )
        runs = runs[changes(runs)]
        run_block, run_slot = runs >> 32, runs & 0xFFFF_FFFF
        line = before[run_block] + (run_slot >> slot_bits[run_block])
        starts = np.flatnonzero(changes(line))
        column = np.arange(len(runs)) - starts[line]
        full = np.diff(np.append(starts, len(runs))) > LINE_KEYS + 1

        # The value of a run is that of the last boundary at or before its start; boundaries after it make it mixed.
        run = np.searchsorted(runs, block << 32 | slot)
        high = np.cumsum(np.bincount(run, minlength=len(runs)))
        low = high - np.bincount(run[between], minlength=len(runs))
        value = np.where(low > offset[run_block], keys.values[index[np.maximum(low, 1) - 1]], blocks.base[run_block])
        kept = ~full[line]
        mixed = kept & (high > low)
        split = kept & ~mixed & (value < 0)

        # The children: mixed slots, split upper halves, and lines with more runs than they have room for.
        whole = np.flatnonzero(full)
        at = starts[whole]
        end = high[np.append(starts[1:], len(runs))[whole] - 1]
        to_first = blocks.first - offset
        group = ~value[split]
        pending = [
            _Blocks(
                low[mixed] + to_first[run_block[mixed]],
                high[mixed] + to_first[run_block[mixed]],
                value[mixed],
                blocks.start[run_block[mixed]] + _shifted(run_slot[mixed], spare[run_block[mixed]]),
                spare[run_block[mixed]],
                blocks.lower[run_block[mixed]],
            ),
            _Blocks(
                keys.groups[group] + 1,
                keys.groups[group + 1],
                keys.values[keys.groups[group]],
                np.zeros(len(group), np.uint64),
                np.full(len(group), 64),
                np.ones(len(group), np.int64),
            ),
            _Blocks(
                low[at] + to_first[run_block[at]],
                end + to_first[run_block[at]],
                value[at],
                blocks.start[run_block[at]] + _shifted(run_slot[at], spare[run_block[at]]),
                shift[run_block[at]],
                blocks.lower[run_block[at]],
            ),
        ]
        child_line = np.concatenate([line[mixed], line[split], line[at]])
        child_column = np.concatenate([column[mixed], column[split], column[at]])
        order = np.lexsort((child_column, child_line))
        left = _Blocks(*(np.concatenate(parts) for parts in zip(*pending, strict=True))).take(order)
        child_line, child_column = child_line[order], child_column[order]
        number = np.arange(len(order)) - np.searchsorted(child_line, child_line)

        lines = np.zeros(total, LINE)
        lines["keys"] = KEY_NEVER
        key = kept & (column > 0)
        lines["keys"][line[key], column[key] - 1] = run_slot[key] & _mask(slot_bits[run_block[key]]).astype(np.int64)
        plain = kept & ~mixed & ~split
        lines["values"][line[plain], column[plain]] = value[plain]
        lines["values"][child_line, child_column] = CHILD | number
        lines["children"][child_line] = self.child_count + np.arange(len(order)) - number
        self._add_lines(lines)
        self.child_count += len(order)
        return left


class _Boundaries(NamedTuple):
    """Every boundary inside some blocks, in order.

    `offset` is where each block's boundaries begin; `place`, `block` and `slot` are each boundary's index in the keys,
    its block and its slot. A slot is the unit that a key of a line can name; `between` is set for a boundary that is
    not at the start of its slot.
    """

    offset: Ints
    place: Ints
    block: Ints
    slot: Ints
    between: npt.NDArray[np.bool_]


def _boundaries(keys: _Keys, blocks: _Blocks, spare: Ints) -> _Boundaries:
    amount = blocks.last - blocks.first
    offset = np.cumsum(amount) - amount
    block = np.repeat(np.arange(len(amount)), amount)
    index = np.arange(int(amount.sum())) - (offset - blocks.first)[block]
    inside = keys.keys[index] - blocks.start[block]
    slot = (inside >> spare[block].astype(np.uint64)).astype(np.int64)
    return _Boundaries(offset, index, block, slot, (inside & _mask(spare[block])) != 0)


def _keys(partition: Partition) -> _Keys:
    """Return the boundaries of a family, those of lower halves in groups of their own."""
    if partition.family == 4:
        keys = partition.starts.astype(np.uint64) << np.uint64(32)
        return _Keys(keys, partition.values.astype(np.int64), np.array([len(keys)]), 32)
    halves = np.frombuffer(np.ascontiguousarray(partition.starts).tobytes(), dtype=">u8").astype(np.uint64)
    upper, lower = halves[0::2], halves[1::2]
    values = partition.values.astype(np.int64)
    split = distinct(upper[lower != 0])
    begins = np.searchsorted(upper, split, side="left")
    ends = np.searchsorted(upper, split, side="right")
    # An upper half that is not split keeps its boundary. A split upper half gets a value of its own, and the upper half
    # after it a boundary, where the last value inside the split one continues.
    own = np.zeros(len(upper) + 1, np.int8)
    own[begins] += 1
    own[ends] -= 1
    own = np.cumsum(own[:-1], dtype=np.int8).astype(bool)
    whole = ~own
    following = split[split != np.uint64(0xFFFF_FFFF_FFFF_FFFF)] + np.uint64(1)
    resumed = following[upper[np.minimum(np.searchsorted(upper, following), len(upper) - 1)] != following]
    all_keys = np.concatenate([upper[whole], split, resumed])
    last = np.searchsorted(upper, resumed, side="left") - 1
    all_values = np.concatenate([values[whole], ~np.arange(len(split)), values[last]])
    order = np.argsort(all_keys, kind="stable")
    # Within a split half: a boundary at 0, added if there is none, and its own boundaries.
    missing = lower[begins] != 0
    group_upper = np.concatenate([split[missing], upper[own]])
    group_lower = np.concatenate([np.zeros(int(missing.sum()), np.uint64), lower[own]])
    group_values = np.concatenate([values[begins[missing] - 1], values[own]])
    inner = np.lexsort((group_lower, group_upper))
    groups = len(order) + np.searchsorted(group_upper[inner], split, side="left")
    return _Keys(
        np.concatenate([all_keys[order], group_lower[inner]]),
        np.concatenate([all_values[order], group_values[inner]]),
        np.append(groups, len(order) + len(inner)),
        0,
    )


def _blocks(keys: _Keys, starts: Keys, width: int) -> _Blocks:
    """Return the blocks of upper halves that begin at `starts` and are 2^width keys long."""
    uppers = keys.keys[: keys.groups[0]]
    first = np.searchsorted(uppers, starts, side="right")
    last = np.searchsorted(uppers, starts + np.uint64((1 << width) - 1), side="right")
    size = len(starts)
    return _Blocks(first, last, keys.values[first - 1], starts, np.full(size, width), np.zeros(size, np.int64))


def _choose_bits(keys: _Keys, blocks: _Blocks) -> Ints:
    """Return how many bits choose a block's line: few, but with no more boundaries in a line than keys, if possible."""
    amount = blocks.last - blocks.first
    most = np.maximum(np.ceil(np.log2(np.maximum(amount, 1) / FILL)).astype(np.int64), 1)
    # A boundary must not be in the same line as the one LINE_KEYS after it; the closest such pair decides.
    crowded = np.flatnonzero(amount > LINE_KEYS)
    span = amount[crowded] - LINE_KEYS
    offset = np.cumsum(span) - span
    at = np.arange(int(span.sum())) + np.repeat(blocks.first[crowded] - offset, span)
    bits = np.zeros(len(amount), np.int64)
    if len(crowded):
        closest = np.minimum.reduceat(keys.keys[at + LINE_KEYS] - keys.keys[at], offset)
        bits[crowded] = blocks.width[crowded] - np.log2(closest.astype(np.float64)).astype(np.int64)
    # `shift` has no room for 64, so the lower half is always cut at least in two.
    least = (blocks.width == 64).astype(np.int64)
    # A slot with a boundary inside takes two keys, so a single inexact line holds only half as many boundaries.
    exact = blocks.width <= keys.grain + KEY_BITS
    single = amount > np.where(exact, LINE_KEYS, LINE_KEYS // 2)
    return np.clip(np.maximum(bits, single), least, np.minimum(np.minimum(most, 12), blocks.width))


def _mask(bits: Ints) -> Keys:
    return (np.uint64(1) << bits.astype(np.uint64)) - np.uint64(1)


def _shifted(slots: Ints, bits: Ints) -> Keys:
    return slots.astype(np.uint64) << bits.astype(np.uint64)
