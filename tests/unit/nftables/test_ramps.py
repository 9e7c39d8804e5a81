# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest

from geodrop.nftables import ramps
from geodrop.nftables.model import Rule
from geodrop.nftables.netlink.expressions import Payload
from geodrop.nftables.netlink.uapi import PayloadBase
from geodrop.nftables.text import rule
from geodrop.ruleset.ramp import BUCKETS, key
from tests.support.rules import applies


def header(source: str) -> bytes:
    """Return the IP header of a packet as far as its source address goes."""
    address = ip_address(source)
    return bytes(8 if isinstance(address, IPv6Address) else 12) + address.packed


@pytest.mark.parametrize(
    ("source", "form"),
    [
        ("1.2.3.4", 4),
        ("2400:1:2:3ff::1", 6),
        ("2002:102:304::1", "6to4"),
        ("2001::fefd:fcfb", "inside"),
        ("64:ff9b::1.2.3.4", "inside"),
        ("::ffff:1.2.3.4", "inside"),
        ("64:ff9b:1::1.2.3.4", 6),
    ],
)
def test_the_rules_hash_what_the_ruleset_hashes(source: str, form: int | str) -> None:
    """The selectors of IPv4 inside IPv6 pick exactly those sources, and each form reads the bytes of `key`."""
    whole = header(source)
    if form != 4:
        family = {load: bytes([10]) for load in [ramps.INSIDE_IPV6["6to4"][0]]}
        known = family | {
            Payload(PayloadBase.NETWORK, offset, length): whole[offset : offset + length]
            for offset, length in ((8, 2), (8, 16))
        }
        assert [name for name, one in ramps.INSIDE_IPV6.items() if applies(one, known)] == ([] if form == 6 else [form])
    read = ramps.KEYS[form]
    assert whole[read.offset : read.offset + read.length] == key(ip_address(source))


def test_steps() -> None:
    """Each share has the moment of the next one; a share of everything needs no rule."""
    assert list(ramps.steps(())) == []
    assert list(ramps.steps(((0, 1_000),))) == [(1_000, 0)]
    assert list(ramps.steps(((5, 100), (9, BUCKETS)))) == [(0, 5), (100, 9)]
    assert list(ramps.steps(((5, 100), (9, 200)))) == [(0, 5), (100, 9), (200, 0)]
    assert list(ramps.steps(((0, BUCKETS),))) == []


def test_as_nft_writes_it() -> None:
    """A saved or exported table has the rule in nft's own words."""
    written = rule(Rule(ramps.outside("api", 4, ramps.KEYS[4], 1_000)))
    assert written == "meta nfproto ipv4 jhash @nh,96,24 mod 10000 seed 0x14c2529e >= 1000"
