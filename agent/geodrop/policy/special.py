# SPDX-License-Identifier: Apache-2.0
"""Tables of special-purpose addresses and of IPv6 ranges that embed IPv4 addresses, with lookups in them.

Source: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190), both as of 2025-10-09, column
"Globally Reachable", and the multicast registries. A row of the registry without a value (N/A, or a terminated row:
192.88.99.0/24, 2001:10::/28) is ignored, so the range around it counts.

Within these tables the longest match decides. Nothing here depends on the standard library's `is_global`, which changes
with the Python version and calls ::ffff:0:0/96 and 2002::/16 private.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

from geodrop.policy.spans import spans, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from geodrop.policy.model import Network
    from geodrop.policy.spans import Spans

SPECIAL: tuple[Network, ...] = (
    IPv4Network("0.0.0.0/8"),  # this network (RFC 791)
    IPv4Network("10.0.0.0/8"),  # private use (RFC 1918)
    IPv4Network("100.64.0.0/10"),  # shared address space (RFC 6598)
    IPv4Network("127.0.0.0/8"),  # loopback (RFC 1122)
    IPv4Network("169.254.0.0/16"),  # link-local (RFC 3927)
    IPv4Network("172.16.0.0/12"),  # private use (RFC 1918)
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments (RFC 6890)
    IPv4Network("192.0.2.0/24"),  # documentation (RFC 5737)
    IPv4Network("192.88.99.2/32"),  # 6a44 relay anycast (RFC 6751)
    IPv4Network("192.168.0.0/16"),  # private use (RFC 1918)
    IPv4Network("198.18.0.0/15"),  # benchmarking (RFC 2544)
    IPv4Network("198.51.100.0/24"),  # documentation (RFC 5737)
    IPv4Network("203.0.113.0/24"),  # documentation (RFC 5737)
    IPv4Network("224.0.0.0/4"),  # multicast (RFC 5771)
    IPv4Network("240.0.0.0/4"),  # reserved (RFC 1112), with the limited broadcast address
    IPv6Network("::/128"),  # unspecified (RFC 4291)
    IPv6Network("::1/128"),  # loopback (RFC 4291)
    IPv6Network("64:ff9b:1::/48"),  # translation, local use (RFC 8215)
    IPv6Network("100::/64"),  # discard only (RFC 6666)
    IPv6Network("100:0:0:1::/64"),  # dummy prefix (RFC 9780)
    IPv6Network("2001::/23"),  # IETF protocol assignments (RFC 2928)
    IPv6Network("2001:db8::/32"),  # documentation (RFC 3849)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
    IPv6Network("5f00::/16"),  # segment routing SIDs (RFC 9602)
    IPv6Network("fc00::/7"),  # unique local (RFC 4193)
    IPv6Network("fe80::/10"),  # link-local unicast (RFC 4291)
    IPv6Network("ff00::/8"),  # multicast (RFC 4291)
)
"""Ranges that are not globally reachable, disjoint, in address order; `REACHABLE` and `EMBEDDED` are exceptions."""

REACHABLE: tuple[Network, ...] = (
    IPv4Network("192.0.0.9/32"),  # Port Control Protocol anycast (RFC 7723)
    IPv4Network("192.0.0.10/32"),  # TURN anycast (RFC 8155)
    IPv6Network("2001:1::1/128"),  # Port Control Protocol anycast (RFC 7723)
    IPv6Network("2001:1::2/128"),  # TURN anycast (RFC 8155)
    IPv6Network("2001:1::3/128"),  # DNS-SD service registration anycast (RFC 9665)
    IPv6Network("2001:3::/32"),  # AMT (RFC 7450)
    IPv6Network("2001:4:112::/48"),  # AS112 (RFC 7535)
    IPv6Network("2001:20::/28"),  # ORCHIDv2 (RFC 7343)
    IPv6Network("2001:30::/28"),  # drone remote identification (RFC 9374)
)
"""The globally reachable exceptions inside `SPECIAL`, in address order; they are ordinary addresses."""

EMBEDDED: Mapping[str, IPv6Network] = {
    "6to4": IPv6Network("2002::/16"),  # RFC 3056
    "teredo": IPv6Network("2001::/32"),  # RFC 4380; inside 2001::/23
    "nat64": IPv6Network("64:ff9b::/96"),  # RFC 6052
    "mapped": IPv6Network("::ffff:0:0/96"),  # RFC 4291; the registry says not reachable, as it is no wire format
}
"""IPv6 ranges that embed an IPv4 address, which is judged instead; the keys are those of `ruleset.model.Embedding`."""

GLOBAL_UNICAST = IPv6Network("2000::/3")
"""IPv6 outside of this, in neither `SPECIAL` nor `EMBEDDED`, has an unknown region (also ::/96) and is not special."""


def is_special(address: IPv4Address | IPv6Address) -> bool:
    """Return whether the address, as written, is special; an IPv6 address that embeds IPv4 never is."""
    value, version = int(address), address.version
    return _holds(_SPECIAL_RANGES[version], value) and not _holds(_EXEMPT_RANGES[version], value)


@cache
def special_spans(version: int) -> Spans:
    """Return all special addresses of a family."""
    return without(spans(SPECIAL, version), spans(_EXEMPT, version))


@cache
def public_spans(version: int) -> Spans:
    """Return all addresses that a host on the internet can have: not special, and not embedding IPv4."""
    everything = IPv4Network("0.0.0.0/0") if version == 4 else GLOBAL_UNICAST
    embedded = spans(EMBEDDED.values(), version)
    return without(without(spans([everything], version), special_spans(version)), embedded)


def special_inside(network: Network) -> Network | None:
    """Return the first of `SPECIAL` that shares a special address with the network, else None."""
    if any(_inside(network, exempt) for exempt in _EXEMPT):
        return None
    return next((special for special in SPECIAL if _overlap(network, special)), None)


def embedded_inside(network: Network) -> str | None:
    """Return the name of the first of `EMBEDDED` that overlaps the network, else None."""
    return next((name for name, embedded in EMBEDDED.items() if _overlap(network, embedded)), None)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _inside(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _holds(ranges: tuple[tuple[int, int], ...], value: int) -> bool:
    return any(first <= value <= last for first, last in ranges)


def _ranges(networks: Iterable[Network], version: int) -> tuple[tuple[int, int], ...]:
    return tuple((int(n.network_address), int(n.broadcast_address)) for n in networks if n.version == version)


# Adjacent exceptions are joined, so that a network that consists of two exceptions lies inside one.
_EXEMPT: tuple[Network, ...] = (
    *collapse_addresses(n for n in REACHABLE if isinstance(n, IPv4Network)),
    *collapse_addresses([*(n for n in REACHABLE if isinstance(n, IPv6Network)), *EMBEDDED.values()]),
)
_SPECIAL_RANGES = {version: _ranges(SPECIAL, version) for version in (4, 6)}
_EXEMPT_RANGES = {version: _ranges(_EXEMPT, version) for version in (4, 6)}
