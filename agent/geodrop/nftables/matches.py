"""The beginnings of rules: which packets, by interface, family and time, and what they are made of. Pure.

A selector is a tuple of expressions that goes on only for its packets. The extra checks of family and protocol are
those that nft writes itself, and lets one leave out on input. A rule does not apply to a packet that is too short for
what it reads.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from geodrop.engine.interfaces import EVERY
from geodrop.nftables.netlink import uapi
from geodrop.nftables.netlink.expressions import (
    Bitwise,
    Choice,
    Cmp,
    ExtensionHeader,
    HostToNetwork,
    MetaLoad,
    OneOf,
    Payload,
)
from geodrop.nftables.netlink.uapi import CmpOp, KeyType, MetaKey, PayloadBase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.nftables.netlink.expressions import Expression

    Selector = tuple[Expression, ...]
    Ranges = Sequence[tuple[int, int]]

SOURCE = {4: Payload(PayloadBase.NETWORK, 12, 4), 6: Payload(PayloadBase.NETWORK, 8, 16)}
"""The source address, by family."""

HOP_BY_HOP, FRAGMENT = 0, 44
"""Extension headers of IPv6."""

_NFPROTO = {4: uapi.NFPROTO_IPV4, 6: uapi.NFPROTO_IPV6}
_FRAGMENT_OFFSET: dict[int, tuple[Expression, bytes]] = {
    4: (Payload(PayloadBase.NETWORK, 6, 2), b"\x1f\xff"),  # RFC 791
    6: (ExtensionHeader(FRAGMENT, 2, 2), b"\xff\xf8"),  # RFC 8200, 4.5
}
_IFNAMSIZ = 16


def interface(name: str) -> Selector:
    """Packets that arrive on an interface, or on any whose name begins so if it ends in `*`."""
    if name == EVERY:
        return ()
    wanted = name[:-1].encode() if name.endswith("*") else name.encode().ljust(_IFNAMSIZ, b"\0")
    return (MetaLoad(MetaKey.IIFNAME), Cmp(CmpOp.EQ, wanted))


def interface_name(selector: Selector) -> str | None:
    """The name that `interface` was given; None if it is another selector."""
    match selector:
        case ():
            return EVERY
        case (MetaLoad(MetaKey.IIFNAME), Cmp(CmpOp.EQ, value)):
            name = value.rstrip(b"\0").decode("utf-8", "backslashreplace")
            return name if len(value) == _IFNAMSIZ else f"{name}*"
    return None


def of_kinds(kinds: Iterable[str]) -> Selector:
    """Packets that arrive on an interface of one of these kinds, such as veth; most hardware has none."""
    padded = sorted(int.from_bytes(kind.encode().ljust(_IFNAMSIZ, b"\0"), "big") for kind in kinds)
    return (MetaLoad(MetaKey.IIFKIND), *among(KeyType.IFNAME, _IFNAMSIZ, singles(padded)))


def interface_number(number: int) -> Selector:
    """Packets that arrive on the interface of this number, whatever its name."""
    return (MetaLoad(MetaKey.IIF), Cmp(CmpOp.EQ, number.to_bytes(4, sys.byteorder)))


def number_of(selector: Selector) -> int | None:
    """The number that `interface_number` was given; None if it is another selector."""
    match selector:
        case (MetaLoad(MetaKey.IIF), Cmp(CmpOp.EQ, value)):
            return int.from_bytes(value, sys.byteorder)
    return None


def family(version: int) -> Selector:
    """IPv4 or IPv6 packets."""
    return (MetaLoad(MetaKey.NFPROTO), Cmp(CmpOp.EQ, bytes([_NFPROTO[version]])))


def later_fragment(version: int) -> Selector:
    """Fragments that do not hold the transport header: their offset, behind or before some flags, is not zero."""
    load, mask = _FRAGMENT_OFFSET[version]
    return (*family(version), load, Bitwise(mask, bytes(2)), Cmp(CmpOp.NEQ, bytes(2)))


def fragmented() -> Selector:
    """IPv6 packets with a fragment header, wherever that is."""
    return (*family(6), ExtensionHeader(FRAGMENT, 0, 1), Cmp(CmpOp.GTE, b"\0"))


def fragmented_in_place() -> tuple[Selector, Selector]:
    """Those of them in which nothing stands before it, or nothing but hop-by-hop options."""
    first, second = Payload(PayloadBase.NETWORK, 6, 1), ExtensionHeader(HOP_BY_HOP, 0, 1)
    is_fragment = Cmp(CmpOp.EQ, bytes([FRAGMENT]))
    return (first, is_fragment), (first, Cmp(CmpOp.EQ, bytes([HOP_BY_HOP])), second, is_fragment)


def before(seconds: int) -> Selector:
    """Packets that arrive before a moment, in seconds since the epoch, by the kernel's clock."""
    # The kernel loads the time as a number of its own; cmp orders bytes.
    return (MetaLoad(MetaKey.TIME_NS), HostToNetwork(8), Cmp(CmpOp.LT, (seconds * 10**9).to_bytes(8, "big")))


def singles(numbers: Iterable[int]) -> Ranges:
    """Numbers as ranges of one each."""
    return [(number, number) for number in sorted(set(numbers))]


def among(key: KeyType, width: int, ranges: Ranges) -> Selector:
    """What was loaded is one of these: a comparison if there is one range, else an anonymous set."""
    if len(ranges) > 1:
        return (OneOf(Choice(key, width, tuple(sorted(ranges)))),)
    first, last = (bound.to_bytes(width, "big") for bound in ranges[0])
    if first == last:
        return (Cmp(CmpOp.EQ, first),)
    return (Cmp(CmpOp.GTE, first), Cmp(CmpOp.LTE, last))
