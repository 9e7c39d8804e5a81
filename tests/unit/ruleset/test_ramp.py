# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.ruleset.ramp import BUCKETS, bucket, dropped_from, jhash, key, seed, share_at, share_text
from tests.oracle import ramp as oracle

RAMP = ((1_000, 100), (2_000, 1_000), (3_000, BUCKETS))

HOLDING = {"2002::": 16, "2001::": 32, "64:ff9b::": 96, "::ffff:0:0": 96, "64:ff9b:1::": 64}


@st.composite
def addresses(draw: st.DrawFn) -> IPv4Address | IPv6Address:
    """Return an address of any form."""
    if draw(st.booleans()):
        return IPv4Address(draw(st.integers(0, (1 << 32) - 1)))
    low = draw(st.integers(0, (1 << 128) - 1))
    start = draw(st.sampled_from([*HOLDING, ""]))
    return IPv6Address(int(IPv6Address(start)) | low >> HOLDING[start] if start else low)


@given(addresses(), st.sampled_from(["api", "web-2", "x" * 32]))
def test_as_the_oracle(address: IPv4Address | IPv6Address, service: str) -> None:
    """Another implementation, from the kernel's header and the page on policies, finds the same bucket."""
    assert bucket(service, address) == oracle.bucket(service, str(address))
    assert 0 <= bucket(service, address) < BUCKETS


def test_values_that_must_never_change() -> None:
    """With another hash or seed, each upgrade would drop other clients. The conformance suite compares with kernels."""
    assert jhash(b"\x01\x02\x03", 0) == 0x3E2A886B
    assert jhash(bytes(range(7)), 0xDEADBEEF) == 0x785DE928
    assert seed("api") == 0x14C2529E
    assert bucket("api", ip_address("1.2.3.4")) == 7588


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.2.3.4", "1.2.3.200"),
        ("2400:1:2:300::1", "2400:1:2:3ff::1"),
        ("2002:102:304::1", "1.2.3.9"),
        ("64:ff9b::1.2.3.4", "1.2.3.9"),
        ("::ffff:1.2.3.4", "1.2.3.9"),
        ("2001:0:4136:e378:8000:63bf:fefd:fcfb", "2001:0:1:2:3:4:fefd:fc00"),
    ],
)
def test_what_falls_into_one_bucket(one: str, other: str) -> None:
    """A /24, a /56, and the /24 of an IPv4 address inside; Teredo inverts it, and is hashed as it is in the packet."""
    assert key(ip_address(one)) == key(ip_address(other))


def test_what_does_not() -> None:
    """The next /24 and the next /56."""
    assert key(ip_address("1.2.3.4")) != key(ip_address("1.2.4.4"))
    assert key(ip_address("2400:1:2:300::1")) != key(ip_address("2400:1:2:400::1"))


def test_shares_and_moments() -> None:
    """Before the first step nothing is dropped; a source that is dropped once stays dropped."""
    assert [share_at(RAMP, now) for now in (0, 999, 1_000, 2_500, 9_000)] == [0, 0, 100, 1_000, BUCKETS]
    assert share_at((), 0) == BUCKETS
    assert [dropped_from(RAMP, number) for number in (0, 99, 100, 999, 1_000, BUCKETS - 1)] == [
        *(1_000, 1_000, 2_000, 2_000, 3_000, 3_000)
    ]
    assert dropped_from(((0, 100),), 100) is None
    assert dropped_from((), 7) == 0
    assert [share_text(share) for share in (1, 50, 1_000, BUCKETS)] == ["0.01%", "0.5%", "10%", "100%"]


def test_buckets_are_even() -> None:
    """A tenth of many networks falls into the first tenth of the buckets, for each service other ones."""
    networks = [ip_address((number << 8) + (5 << 24)) for number in range(20_000)]
    first = {service: {one for one in networks if bucket(service, one) < 1_000} for service in ("api", "web")}
    assert all(1_850 < len(found) < 2_150 for found in first.values())
    assert len(first["api"] & first["web"]) < 300
