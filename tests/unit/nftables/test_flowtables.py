# SPDX-License-Identifier: Apache-2.0
"""Read from the kernel's messages what a flowtable takes packets from."""

from __future__ import annotations

from geodrop.nftables.flowtables import Bypass, parse
from geodrop.nftables.netlink import wire

DEVICES = wire.string(1, "eth0") + wire.string(1, "eth1") + wire.string(2, "wan")
"""NFTA_DEVICE_NAME twice, NFTA_DEVICE_PREFIX once."""

ANSWER = b"".join(
    (
        wire.string(1, "fw"),  # NFTA_FLOWTABLE_TABLE
        wire.string(2, "fast"),  # NFTA_FLOWTABLE_NAME
        wire.nested(3, wire.be32(1, 0), wire.be32(2, -5), wire.nested(3, DEVICES)),  # NFTA_FLOWTABLE_HOOK
        wire.be32(4, 1),  # NFTA_FLOWTABLE_USE
    )
)


def test_parse() -> None:
    """Table, name and interfaces are read, with whole interface names and prefixes of names."""
    found = parse("inet", memoryview(ANSWER))
    assert found == Bypass("inet", "fw", "fast", ("eth0", "eth1", "wan*"))
    assert str(found) == "flowtable fast of table inet fw"
    assert found.among(["eth1", "eth10", "wan7", "lo"]) == ["eth1", "wan7"]


def test_a_flowtable_without_interfaces() -> None:
    """Its interfaces are gone, or will come later: it takes no packets now."""
    assert parse("ip", memoryview(wire.string(1, "fw") + wire.string(2, "f"))).among(["eth0"]) == []
