# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from geodrop.compile.sizes import Size, size_of, size_where
from tests.unit.compile.worlds import region_map


def test_sizes_leave_special_and_embedding_addresses_out() -> None:
    """10.0.0.0/8 and 64:ff9b::/96 are of no region, whatever is chosen; a /16 of IPv6 still counts."""
    world = region_map()
    assert size_where(world, lambda region: region.country == "UA") == Size(1 << 24, 1 << 32)
    assert size_where(world, lambda region: region.subdivision == "UA-43") == Size(1 << 16, 0)
    assert size_where(world, lambda region: region.country == "") == Size((1 << 32) - 3 * (1 << 24), 0)
    assert size_of(world.ipv4, world.ipv6, [False] * len(world.regions)) == Size(0, 0)
