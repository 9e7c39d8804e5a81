# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct

from geodrop.nftables.model import Content
from geodrop.nftables.netlink.expressions import ACCEPT, DROP


def test_a_part_of_a_content() -> None:
    """A part has starts, ends and targets of the same intervals, without a copy; past the end it is empty."""
    starts, ends = bytes(range(40)), bytes(range(100, 140))
    whole = Content(
        4, memoryview(starts), memoryview(ends), memoryview(struct.pack("=10H", *range(10))).cast("H"), (ACCEPT, DROP)
    )
    part = whole.part(3, 5)
    assert (len(whole), len(part)) == (10, 2)
    assert bytes(part.starts) == starts[12:20]
    assert bytes(part.ends) == ends[12:20]
    assert part.targets.tolist() == [3, 4]
    assert part.verdicts == whole.verdicts
    assert part.starts.obj is starts
    assert len(whole.part(8, 12)) == 2


def test_only_some_targets() -> None:
    """The intervals with these targets are kept in order."""
    starts, ends = bytes(range(16)), bytes(range(100, 116))
    whole = Content(
        4,
        memoryview(starts),
        memoryview(ends),
        memoryview(struct.pack("=4H", 0, 1, 2, 1)).cast("H"),
        (ACCEPT, DROP, DROP),
    )
    some = whole.only({1})
    assert bytes(some.starts) == starts[4:8] + starts[12:]
    assert bytes(some.ends) == ends[4:8] + ends[12:]
    assert some.targets.tolist() == [1, 1]
    assert len(whole.only({7})) == 0
