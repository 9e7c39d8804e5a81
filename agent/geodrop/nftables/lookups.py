# SPDX-License-Identifier: Apache-2.0
"""Look up addresses: large maps are cut into parts, and IPv4 addresses inside IPv6 ones have a map. Pure.

A large map is cut because the time to add, read back or free a map grows faster than its size: a dump of the world's
IPv4 took 10 s as one map and 0.34 s as sixteen. Each part is asked only about its own range of addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.nftables.model import Map, MapHeader, Rule, Space
from geodrop.nftables.netlink.expressions import Bitwise, Cmp, Payload, VerdictMap
from geodrop.nftables.netlink.uapi import CmpOp, KeyType, PayloadBase
from geodrop.ruleset import intervals
from geodrop.ruleset.model import Embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.nftables.model import Content
    from geodrop.nftables.netlink.expressions import Expression

MAX_INTERVALS = 30_000
"""Intervals of one map. A load of 64,000 + 33,000 intervals takes half the time of uncut maps; each part costs a packet
one comparison.
"""

KEY = {Space.IPV4: KeyType.IPV4_ADDR, Space.INSIDE: KeyType.INTEGER, Space.IPV6: KeyType.IPV6_ADDR}
"""nft lists a lookup of raw payload in a map of addresses, but cannot read it back. So IPv4 inside IPv6 has a map whose
keys are raw payload.
"""

_ALL_ONES = b"\xff" * 4

CLIENT = {
    Embedding.SIXTOFOUR: Payload(PayloadBase.NETWORK, 8 + 2, 4),
    Embedding.TEREDO: Payload(PayloadBase.NETWORK, 8 + 12, 4),
    Embedding.NAT64: Payload(PayloadBase.NETWORK, 8 + 12, 4),
    Embedding.MAPPED: Payload(PayloadBase.NETWORK, 8 + 12, 4),
}
"""Where the IPv4 address stands in the IPv6 header (whose source address begins at byte 8); see model.Embedding."""

INSIDE_KEY = CLIENT[Embedding.SIXTOFOUR]
"""The key type of `Space.INSIDE` in nft text. Of raw payload, nft compares only the length."""

EMBEDDED = {
    Embedding.SIXTOFOUR: "6to4",
    Embedding.TEREDO: "teredo",
    Embedding.NAT64: "nat64-mapped",
    Embedding.MAPPED: "nat64-mapped",
}
"""The chain that looks up the embedded address. Equal lookups share a chain: the kernel walks a map for each rule that
looks it up.
"""


@dataclass(frozen=True, slots=True)
class Shard:
    """One map and its range of addresses (inclusive, as bytes); `bounds` is None if there is only one map."""

    name: str
    bounds: tuple[bytes, bytes] | None = None


def cut(content: Content, name: str, comment: str, key: KeyType) -> list[tuple[Shard, Map]]:
    """Cut a map's content into one or more maps; empty if there are no intervals."""
    if not len(content):
        return []
    count = -(-len(content) // MAX_INTERVALS)
    size = -(-len(content) // count)
    cuts = []
    for number in range(count):
        part = content.part(number * size, (number + 1) * size)
        shard, text = Shard(name), comment
        if count > 1:
            shard = Shard(f"{name}.{number + 1}", _bounds(part))
            text = f"{comment}, part {number + 1} of {count}"
        cuts.append((shard, Map(MapHeader(shard.name, text, key), part)))
    return cuts


def rules(
    start: Sequence[Expression], address: Payload, shards: Sequence[Shard], *, inverted: bool = False
) -> tuple[Rule, ...]:
    """Return rules that look up an address of the packet. With `inverted`,
    the packet holds the address's complement.
    """
    made = []
    for shard in shards:
        parts = [*start]
        if shard.bounds:
            first, last = map(_complement, reversed(shard.bounds)) if inverted else shard.bounds
            parts += [address, Cmp(CmpOp.GTE, first), Cmp(CmpOp.LTE, last)]
        parts.append(address)
        if inverted:
            parts.append(Bitwise(_ALL_ONES, _ALL_ONES))
        made.append(Rule((*parts, VerdictMap(shard.name))))
    return tuple(made)


def embedded_rules(embedding: Embedding, shards: Sequence[Shard]) -> tuple[Rule, ...]:
    """Return rules that look up the IPv4 address inside an IPv6 source address."""
    # A Teredo server inverts the client's address, so that NATs on the way do not translate it (RFC 4380, 4).
    return rules((), CLIENT[embedding], shards, inverted=embedding is Embedding.TEREDO)


def _bounds(part: Content) -> tuple[bytes, bytes]:
    width = part.width
    return bytes(part.starts[:width]), intervals.packed(intervals.last_before(part.ends[-width:]), width)


def _complement(address: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in address)
