# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from geodrop.nftables import lookups, matches
from geodrop.nftables.lookups import Shard
from geodrop.nftables.model import Content, Rule
from geodrop.nftables.netlink.expressions import ACCEPT, Bitwise, Cmp, Payload, VerdictMap
from geodrop.nftables.netlink.uapi import CmpOp, KeyType
from geodrop.ruleset.model import Embedding


def content(starts: list[int], ends: list[int]) -> Content:
    """Make a map of IPv4 intervals; ends are exclusive."""
    return Content(
        4,
        memoryview(struct.pack(f">{len(starts)}I", *starts)),
        memoryview(struct.pack(f">{len(ends)}I", *ends)),
        memoryview(struct.pack(f"={len(starts)}H", *[0] * len(starts))).cast("H"),
        (ACCEPT,),
    )


def looked_up(rules: tuple[Rule, ...], header: bytes) -> list[tuple[str, bytes]]:
    """Return the maps in which a packet is looked up, with the keys."""
    found = []
    for rule in rules:
        loaded = b""
        for part in rule.expressions:
            match part:
                case Payload(_, offset, length):
                    loaded = header[offset : offset + length]
                case Bitwise(mask, xor):
                    loaded = bytes((a & b) ^ c for a, b, c in zip(loaded, mask, xor, strict=True))
                case Cmp(CmpOp.GTE, value) if loaded < value:
                    break
                case Cmp(CmpOp.LTE, value) if loaded > value:
                    break
                case VerdictMap(name):
                    found.append((name, loaded))
                case _:
                    pass
    return found


def test_a_small_map_stays_whole() -> None:
    """A small map is named after service and family, and its rule checks no range."""
    [(shard, map_)] = lookups.cut(content([10], [20]), "g42-api.ipv4", "service api, IPv4", KeyType.IPV4_ADDR)
    assert shard == Shard("g42-api.ipv4")
    assert (map_.header.name, map_.header.key) == ("g42-api.ipv4", KeyType.IPV4_ADDR)
    assert map_.header.comment == "service api, IPv4"


def test_no_intervals_no_map() -> None:
    """Without intervals there is no map and no rule that looks anything up."""
    assert lookups.cut(content([], []), "g42-api.ipv4", "", KeyType.IPV4_ADDR) == []


def test_a_large_map_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """All intervals are kept, in order, and each part is asked about exactly the addresses that it may hold."""
    monkeypatch.setattr(lookups, "MAX_INTERVALS", 3)
    starts = [100 * number for number in range(1, 8)]
    ends = [start + 50 for start in starts[:-1]] + [0]  # the last interval reaches to the end of the family
    cuts = lookups.cut(content(starts, ends), "g42-api.ipv4", "service api, IPv4", KeyType.IPV4_ADDR)
    assert [map_.header.name for _, map_ in cuts] == ["g42-api.ipv4.1", "g42-api.ipv4.2", "g42-api.ipv4.3"]
    assert cuts[1][1].header.comment == "service api, IPv4, part 2 of 3"
    assert b"".join(bytes(map_.content.starts) for _, map_ in cuts) == struct.pack(">7I", *starts)
    assert max(len(map_.content) for _, map_ in cuts) == 3
    rules = lookups.rules((), matches.SOURCE[4], [shard for shard, _ in cuts])
    for address in (*starts, *(start + 49 for start in starts[:-1]), 0xFFFF_FFFF):
        holder = next(
            map_.header.name
            for _, map_ in cuts
            for start, end in zip(
                struct.unpack(f">{len(map_.content)}I", map_.content.starts),
                struct.unpack(f">{len(map_.content)}I", map_.content.ends),
                strict=True,
            )
            if start <= address <= (end - 1) % (1 << 32)
        )
        assert looked_up(rules, bytes(12) + address.to_bytes(4, "big")) == [(holder, address.to_bytes(4, "big"))]


@pytest.mark.parametrize("embedding", list(Embedding))
@pytest.mark.parametrize("shards", [1, 2])
def test_embedded_addresses(embedding: Embedding, shards: int) -> None:
    """The rule reads from the packet what `Embedding.extract` reads from the address,
    even if maps are cut into parts.
    """
    outer = {
        Embedding.SIXTOFOUR: IPv6Address("2002:c000:0221::1"),
        Embedding.TEREDO: IPv6Address("2001:0:1:2:3:4:3fff:fdde"),
        Embedding.NAT64: IPv6Address("64:ff9b::192.0.2.33"),
        Embedding.MAPPED: IPv6Address("::ffff:192.0.2.33"),
    }[embedding]
    inner = IPv4Address("192.0.2.33")
    assert embedding.extract(int(outer)) == int(inner)
    middle = int(inner) - 5
    bounds = [(0, middle), (middle + 1, 0xFFFF_FFFF)]
    parts = [
        Shard(f"m{number}", (first.to_bytes(4, "big"), last.to_bytes(4, "big")) if shards > 1 else None)
        for number, (first, last) in enumerate(bounds[:shards])
    ]
    rules = lookups.embedded_rules(embedding, parts)
    assert looked_up(rules, bytes(8) + outer.packed) == [(f"m{shards - 1}", inner.packed)]
