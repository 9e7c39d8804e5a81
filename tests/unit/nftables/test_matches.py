# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.nftables import matches
from geodrop.nftables.netlink import uapi
from geodrop.nftables.netlink.expressions import Cmp, MetaLoad, Payload
from geodrop.nftables.netlink.uapi import CmpOp, MetaKey, PayloadBase
from tests.support.rules import applies

if TYPE_CHECKING:
    from geodrop.nftables.netlink.expressions import Expression


@pytest.mark.parametrize("name", ["eth0", "eth*", "*", "a23456789012345", "ü0"])
def test_interfaces_come_back(name: str) -> None:
    """`readback` reads interface names back from the base chain's rules."""
    assert matches.interface_name(matches.interface(name)) == name


def test_wildcards_compare_the_beginning_only() -> None:
    """`eth*` compares a prefix; `eth1` compares the whole name, so it does not match eth10."""
    assert matches.interface("eth*")[1] == Cmp(CmpOp.EQ, b"eth")
    assert matches.interface("eth1")[1] == Cmp(CmpOp.EQ, b"eth1".ljust(16, b"\0"))


def test_other_selectors_name_no_interface() -> None:
    """A foreign rule in the base chain is not taken for one that names an interface."""
    assert matches.interface_name(matches.family(4)) is None
    assert matches.interface_name(matches.of_kinds(["veth"])) is None


@pytest.mark.parametrize(
    ("field", "later"), [(0x0000, False), (0x2000, False), (0x4000, False), (0x2008, True), (1, True)]
)
def test_later_fragments_of_ipv4(field: int, *, later: bool) -> None:
    """The offset makes a later fragment; the flags "more fragments" and "do not fragment" do not."""
    known: dict[Expression, bytes] = {
        MetaLoad(MetaKey.NFPROTO): bytes([uapi.NFPROTO_IPV4]),
        Payload(PayloadBase.NETWORK, 6, 2): field.to_bytes(2, "big"),
    }
    assert applies(matches.later_fragment(4), known) is later


def test_before() -> None:
    """The time is in nanoseconds, compared as bytes."""
    known: dict[Expression, bytes] = {MetaLoad(MetaKey.TIME_NS): (99 * 10**9).to_bytes(8, "big")}
    assert applies(matches.before(100), known)
    assert not applies(matches.before(99), known)
