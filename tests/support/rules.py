# SPDX-License-Identifier: Apache-2.0
"""Try selectors of nftables rules on packets, each given by the values that a rule can load from it."""

from __future__ import annotations

import operator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from geodrop.nftables.netlink import uapi
from geodrop.nftables.netlink.expressions import Bitwise, Cmp, ExtensionHeader, MetaLoad, OneOf, Payload
from geodrop.nftables.netlink.uapi import CmpOp, MetaKey, PayloadBase
from geodrop.ruleset.model import ServiceSpec

if TYPE_CHECKING:
    from geodrop.nftables.netlink.expressions import Expression

TCP, UDP = 6, 17

COMPARE = {
    CmpOp.EQ: operator.eq,
    CmpOp.NEQ: operator.ne,
    CmpOp.LT: operator.lt,
    CmpOp.LTE: operator.le,
    CmpOp.GTE: operator.ge,
}


def spec(**match: object) -> ServiceSpec:
    """Return a service that matches what is given."""
    given_or_none: dict[str, object] = {"tcp": (), "udp": (), "protocols": (), "addresses": (), **match}
    fixed = {"name": "api", "mode": "enforce", "starts": None, "established": "cut", "catch_all": not match}
    return ServiceSpec(**fixed, **given_or_none)  # type: ignore[arg-type]


def applies(selector: tuple[Expression, ...], known: dict[Expression, bytes]) -> bool:
    """Run a selector on the loadable values; a load of any other value ends the rule, as in the kernel."""
    loaded = b""
    for part in selector:
        match part:
            case Bitwise(mask, xor):
                loaded = bytes((a & b) ^ c for a, b, c in zip(loaded, mask, xor, strict=True))
            case Cmp(op, value) if not COMPARE[op](loaded, value):
                return False
            case OneOf(choice) if not any(a <= int.from_bytes(loaded, "big") <= b for a, b in choice.ranges):
                return False
            case MetaLoad() | Payload() | ExtensionHeader():
                if part not in known:
                    return False
                loaded = known[part]
            case _:
                pass
    return True


def packet(protocol: int, dport: int, destination: str = "192.0.2.1") -> dict[Expression, bytes]:
    """Return the values that a rule can load from a packet."""
    address = ip_address(destination)
    family = uapi.NFPROTO_IPV4 if address.version == 4 else uapi.NFPROTO_IPV6
    return {
        MetaLoad(MetaKey.NFPROTO): bytes([family]),
        MetaLoad(MetaKey.L4PROTO): bytes([protocol]),
        Payload(PayloadBase.TRANSPORT, 2, 2): dport.to_bytes(2, "big"),
        Payload(PayloadBase.NETWORK, 16 if address.version == 4 else 24, len(address.packed)): address.packed,
    }
