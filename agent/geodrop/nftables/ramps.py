# SPDX-License-Identifier: Apache-2.0
"""What of a packet decides whether a ramp drops it yet: the selectors of `share` and `ramp`. Pure.

The kernel hashes the same bytes as `ruleset.ramp.key`. Where an IPv4 address stands inside the IPv6 one, a chain of its
own hashes that.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from geodrop.nftables import matches
from geodrop.nftables.netlink.expressions import Cmp, Hash, HostToNetwork, Payload
from geodrop.nftables.netlink.uapi import CmpOp, KeyType, PayloadBase
from geodrop.ruleset.ramp import BUCKETS, INSIDE, SIXTOFOUR, seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.nftables.matches import Selector
    from geodrop.ruleset.ramp import Ramp

_LAST_32_BITS = 8 + 12
"""Where they begin in the IPv6 header, whose source address begins at byte 8."""

KEYS: dict[int | str, Payload] = {
    4: Payload(PayloadBase.NETWORK, 12, 3),
    6: Payload(PayloadBase.NETWORK, 8, 7),
    "6to4": Payload(PayloadBase.NETWORK, 8 + 2, 3),
    "inside": Payload(PayloadBase.NETWORK, _LAST_32_BITS, 3),
}
"""The bytes that are hashed: by family, and for IPv4 inside IPv6."""

INSIDE_IPV6: dict[str, Selector] = {
    "6to4": (
        *matches.family(6),
        Payload(PayloadBase.NETWORK, 8, 2),
        Cmp(CmpOp.EQ, SIXTOFOUR.network_address.packed[:2]),
    ),
    "inside": (
        *matches.family(6),
        matches.SOURCE[6],
        *matches.among(KeyType.IPV6_ADDR, 16, [(int(one[0]), int(one[-1])) for one in INSIDE]),
    ),
}
"""The IPv6 sources that hold an IPv4 address, by the name of the chain for them."""


def outside(service: str, family: int, key: Payload, share: int) -> Selector:
    """Select packets whose bucket is not below a share."""
    number = (Hash(key.length, BUCKETS, seed(service)), HostToNetwork(4))
    return (*matches.family(family), key, *number, Cmp(CmpOp.GTE, share.to_bytes(4, "big")))


def steps(ramp: Ramp) -> Iterator[tuple[int, int]]:
    """Yield each share with the moment until which it counts, 0 for ever; nothing is dropped before the first step.

    A share that everything is below is left out.
    """
    if ramp and ramp[0][0]:
        yield 0, ramp[0][0]
    for (_, share), following in itertools.zip_longest(ramp, ramp[1:]):
        if share < BUCKETS:
            yield share, following[0] if following else 0
