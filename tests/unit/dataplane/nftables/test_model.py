from __future__ import annotations

import struct

from geodrop.dataplane.nftables.expressions import ACCEPT, DROP
from geodrop.dataplane.nftables.model import Content


def test_a_part_of_a_content() -> None:
    """Starts, ends and targets of the same intervals, without a copy; past the end there is nothing."""
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
