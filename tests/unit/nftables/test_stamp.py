# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.nftables.stamp import Stamp

DIGEST = "3fa9" * 16
NFT_USERDATA_MAXLEN = 256  # linux/netfilter/nf_tables.h


@given(st.integers(0, 10**12), st.integers(0, 4 * 10**9))
def test_stamps_come_back(generation: int, loaded: int) -> None:
    """Stamps are read back even if the kernel keeps at most 256 bytes."""
    stamp = Stamp(generation, DIGEST, loaded)
    assert Stamp.parse(str(stamp)) == stamp
    assert len(str(stamp)) + 3 <= NFT_USERDATA_MAXLEN


@pytest.mark.parametrize(
    "comment",
    ["", "geodrop", f"geodrop generation 1 digest {DIGEST[1:]} loaded 2024-07-09T00:00:00Z",
     f"geodrop generation 1 digest {DIGEST} loaded 2024-13-09T00:00:00Z",
     f"geodrop generation 1 digest {DIGEST} loaded 2024-07-09T00:00:00Z, edited"],
)  # fmt: skip
def test_anything_else_is_no_stamp(comment: str) -> None:
    """A comment that was changed by hand says nothing about a generation."""
    assert Stamp.parse(comment) is None
