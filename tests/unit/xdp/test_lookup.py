# SPDX-License-Identifier: Apache-2.0
"""Addresses as keys, and when `starts` takes effect."""

from __future__ import annotations

from ipaddress import ip_address

from geodrop.xdp import layout as lay
from geodrop.xdp import lookup

SECOND = 1_000_000_000


def test_keys_of_both_families() -> None:
    """IPv4 is in the upper half of the upper key."""
    assert lookup.keys(4, int(ip_address("1.2.3.4"))) == (4, 0x01020304_00000000, 0)
    assert lookup.keys(6, int(ip_address("2001:db8::1"))) == (6, 0x20010DB8_00000000, 1)


def test_a_start_takes_effect_by_the_kernels_clock() -> None:
    """TAI is ahead of the time by its offset."""
    policy = lay.PolicyLayout(tai_offset=37)
    policy.service[0].starts = (1_000 + 37) * SECOND
    assert not lookup.started(policy, 0, 999.9)
    assert lookup.started(policy, 0, 1_000.0)
    assert lookup.started(policy, 1, 0.0)
