# SPDX-License-Identifier: Apache-2.0
"""Read the search tree of a MaxMind DB file as one array, and walk it level by level, all nodes of a depth at once.

Nothing in the file is trusted: every node must be visited exactly once, which bounds the work by the size of the file
and excludes cycles, shared branches and unreachable nodes. All known writers make such trees, with one exception:
further pointers to the node of ::/96, where the IPv4 tree begins, repeat it at ::ffff:0:0/96, 2001::/32 and 2002::/16.
These pointers are not followed, and count as no data.

Layout: MaxMind DB File Format Specification 2.0, "Binary Search Tree Section". A node is two records, left and right,
of 24, 28 or 32 bits, big-endian; with 28 the middle byte holds the four highest bits of both. A record below the
number of nodes is a node; equal to it, no data; above, a value in the data section.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geodrop.geo.metadata import SEPARATOR
from geodrop.geo.partition import Partition, changes, constant, distinct_below
from geodrop.geo.section import damaged

if TYPE_CHECKING:
    import numpy.typing as npt

    from geodrop.errors import DataError
    from geodrop.geo.metadata import Metadata
    from geodrop.geo.section import Buffer

    Words = npt.NDArray[np.uint64]
    Targets = npt.NDArray[np.uint32]

NO_DATA = -1


@dataclass(frozen=True, slots=True)
class Tree:
    """The values of both partitions are NO_DATA or indices into `offsets`, the file offsets of the distinct records."""

    ipv4: Partition
    ipv6: Partition
    offsets: tuple[int, ...]


def read_tree(data: Buffer, metadata: Metadata) -> Tree:
    """Read the whole tree, neighbours with the same record joined. Raises DataError."""
    walk = _Walk(_records(data, metadata), metadata)
    ipv4_starts, ipv4_targets = walk.ipv4()
    if metadata.ip_version == 4:
        walk.check_all_met()
        offsets, values = _numbered(ipv4_targets, metadata)
        return Tree(Partition(4, ipv4_starts, values), constant(6, NO_DATA), offsets)
    ipv6_starts, ipv6_targets = walk.ipv6()
    walk.check_all_met()
    offsets, values = _numbered(np.concatenate([ipv4_targets, ipv6_targets]), metadata)
    ipv4_values, ipv6_values = np.split(values, [len(ipv4_targets)])
    return Tree(Partition(4, ipv4_starts, ipv4_values), Partition(6, ipv6_starts, ipv6_values), offsets)


def _records(data: Buffer, metadata: Metadata) -> Targets:
    """Return the tree as an array of (left, right), uint32, shape (nodes, 2)."""
    nodes = metadata.node_count
    if metadata.record_size == 24:
        # Read four bytes for each record of three bytes; after the last record the fourth byte is of the separator.
        return np.ndarray((nodes, 2), ">u4", data, 0, (6, 3)).astype(np.uint32) >> np.uint32(8)
    if metadata.record_size == 32:
        return np.ndarray((nodes, 2), ">u4", data, 0, (8, 4)).astype(np.uint32)
    records = np.empty((nodes, 2), dtype=np.uint32)
    left = np.ndarray((nodes,), ">u4", data, 0, (7,)).astype(np.uint32)
    records[:, 0] = (left >> np.uint32(8)) | ((left & np.uint32(0xF0)) << np.uint32(20))
    records[:, 1] = np.ndarray((nodes,), ">u4", data, 3, (7,)).astype(np.uint32) & np.uint32(0x0FFF_FFFF)
    return records


def _numbered(targets: Targets, metadata: Metadata) -> tuple[tuple[int, ...], npt.NDArray[np.int32]]:
    """Return the offsets of the distinct records in file order, and for each target its record's index or NO_DATA."""
    nodes = metadata.node_count
    lowest = targets.min()
    records = distinct_below(targets - lowest, int(targets.max() - lowest) + 1).astype(np.uint32) + lowest
    values = np.searchsorted(records, targets).astype(np.int32)
    if records[0] == nodes:
        records = records[1:]
        values -= 1  # "no data" is below every record, so its index 0 becomes NO_DATA
    offsets = records.astype(np.int64) - nodes - SEPARATOR + metadata.data_start
    if len(offsets) and not metadata.data_start <= offsets[0] <= offsets[-1] < metadata.data_end:
        raise damaged(metadata.name, "its search tree points outside of the data section")
    return tuple(offsets.tolist()), values


@dataclass(frozen=True, slots=True)
class _Ends:
    """The ends of a walk, one array element for each.

    `origin` is the index of the node that the walk started from, `prefix` the bits of the path from there, the first
    bit highest, `target` the record at the end.
    """

    origin: Targets
    prefix: Words
    target: Targets

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, positions: npt.NDArray[np.intp]) -> _Ends:
        return _Ends(self.origin[positions], self.prefix[positions], self.target[positions])


class _Walk:
    """The walks over one tree. All of them together may visit each node once."""

    def __init__(self, records: Targets, metadata: Metadata) -> None:
        self._records = records
        self._name = metadata.name
        self._nodes = metadata.node_count
        self._met = np.zeros(self._nodes, dtype=bool)
        self._count = 0
        self._ipv4_root = 0
        if metadata.ip_version == 6:
            for _ in range(96):
                if self._ipv4_root < self._nodes:
                    self._ipv4_root = int(records[self._ipv4_root, 0])

    def ipv4(self) -> tuple[npt.NDArray[np.uint32], Targets]:
        """Return first addresses and records of the IPv4 tree, neighbours joined."""
        root = np.array([self._ipv4_root], dtype=np.uint32)
        if self._ipv4_root >= self._nodes:  # the path to ::/96 ends at or before it
            return np.zeros(1, dtype=np.uint32), root
        leaves, rest = self._descend(root, 32)
        self._check_ended(rest)
        leaves = leaves[_in_order(leaves.prefix)]
        keep = changes(leaves.target)
        return (leaves.prefix[keep] >> np.uint64(32)).astype(np.uint32), leaves.target[keep]

    def ipv6(self) -> tuple[npt.NDArray[np.bytes_], Targets]:
        """Return first addresses and records of the IPv6 tree, neighbours joined; no data where it is the IPv4 tree."""
        leaves, rest = self._descend(np.zeros(1, dtype=np.uint32), 64, alias=self._ipv4_root)
        leaves = leaves[_in_order(leaves.prefix)]
        high, low, targets = leaves.prefix, np.zeros(len(leaves), dtype=np.uint64), leaves.target
        if len(rest):
            # Few networks are longer than /64: only those are sorted by both halves, and inserted between the others.
            deep, beyond = self._descend(rest.target, 64, alias=self._ipv4_root)
            self._check_ended(beyond)
            deep = deep[np.lexsort((deep.prefix, deep.origin))]
            deep_high = rest.prefix[deep.origin]
            at = np.searchsorted(high, deep_high)
            high = np.insert(high, at, deep_high)
            low = np.insert(low, at, deep.prefix)
            targets = np.insert(targets, at, deep.target)
        keep = changes(targets)
        starts = np.empty((np.count_nonzero(keep), 2), dtype=">u8")
        starts[:, 0], starts[:, 1] = high[keep], low[keep]
        return starts.view("S16").ravel(), targets[keep]

    def _descend(self, roots: Targets, bits: int, alias: int | None = None) -> tuple[_Ends, _Ends]:
        """Walk `bits` levels, at most 64, down from nodes given in address order.

        Returns the leaves, level by level, and the nodes below the last level, in address order. A record equal to
        `alias` counts as no data.
        """
        here = _Ends(np.arange(len(roots), dtype=np.uint32), np.zeros(len(roots), dtype=np.uint64), roots)
        leaves = []
        for bit in range(63, 63 - bits, -1):
            if not len(here):
                break
            self._meet(here.target)
            target = self._records[here.target].ravel()
            prefix = np.repeat(here.prefix, 2)
            prefix[1::2] |= np.uint64(1 << bit)
            below = _Ends(np.repeat(here.origin, 2), prefix, target)
            if alias is not None:
                target[target == alias] = max(alias, self._nodes)
            inner = target < self._nodes
            # Indices, computed once, take half the time of a mask that each of the arrays has to read.
            leaves.append(below[np.flatnonzero(~inner)])
            here = below[np.flatnonzero(inner)]
        return _joined(leaves), here

    def _meet(self, nodes: Targets) -> None:
        # The count stops a tree that grows by sharing; at the end the marks tell whether a node was visited twice.
        self._count += len(nodes)
        if self._count > self._nodes:
            raise self._damaged("its search tree has cycles or shared branches")
        self._met[nodes] = True

    def check_all_met(self) -> None:
        """Raise DataError unless every node was visited exactly once."""
        met = int(np.count_nonzero(self._met))
        if not met == self._count == self._nodes:
            raise self._damaged(f"only {met} of {self._nodes} nodes hang together as a tree")

    def _check_ended(self, rest: _Ends) -> None:
        if len(rest):
            raise self._damaged("its search tree goes on below single addresses")

    def _damaged(self, what: str) -> DataError:
        return damaged(self._name, what)


def _in_order(prefixes: Words) -> npt.NDArray[np.intp]:
    """Positions that sort the prefixes of leaves. Each level is sorted already, and a stable sort merges such runs."""
    return np.argsort(prefixes, kind="stable")


def _joined(parts: list[_Ends]) -> _Ends:
    return _Ends(
        np.concatenate([part.origin for part in parts]),
        np.concatenate([part.prefix for part in parts]),
        np.concatenate([part.target for part in parts]),
    )
