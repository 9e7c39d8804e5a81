# SPDX-License-Identifier: Apache-2.0
"""Exempt sources in the map that the program asks on the way to a drop.

The map finds the longest prefix that holds an address. Of overlapping networks only those are written that pass longer
than the ones around them, so the longest prefix has the latest deadline.
"""

from __future__ import annotations

import ctypes
from ipaddress import ip_network
from typing import TYPE_CHECKING

from geodrop.engine.exempt import SLACK, differences, merged
from geodrop.errors import ApplyError
from geodrop.linux import clock, lpm_trie
from geodrop.xdp import layout as lay

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Address, IPv6Address

    from geodrop.engine.api import Difference
    from geodrop.engine.exempt import ExemptSource, Network

    Key = tuple[int, bytes]

DATA_BYTES = ctypes.sizeof(lay.ExemptKeyLayout) - 4
_FAMILY_BITS = 32
_ADDRESS_BYTES = 16


def create_map() -> int:
    """Create the map and return its descriptor. Raises OSError."""
    return lpm_trie.create("exempt", DATA_BYTES, ctypes.sizeof(lay.ExemptLayout), lay.MAX_EXEMPT)


def read(fd: int) -> dict[Network, lay.ExemptLayout]:
    """Return what the map holds, by network; the kernel keeps what has expired. Raises OSError."""
    found: dict[Network, lay.ExemptLayout] = {}
    for key, value in lpm_trie.items(fd).items():
        if (network := _network(key)) is not None:
            found[network] = lay.ExemptLayout.from_buffer_copy(value)
    return found


def put(fd: int, sources: Iterable[ExemptSource], before: Mapping[Network, tuple[int, int]] | None = None) -> None:
    """Make the map hold exactly these sources; counts go on, or begin with those `before`. Raises ApplyError."""
    now = clock.monotonic()
    wanted = {one.network: one.deadline for one in merged(sources) if one.deadline > now}
    try:
        there = lpm_trie.items(fd)
        keys = {_key(network) for network in wanted}
        for key in there.keys() - keys:
            lpm_trie.remove(fd, *key)
        for network, deadline in wanted.items():
            key = _key(network)
            old = lay.ExemptLayout.from_buffer_copy(there[key]) if key in there else None
            if old is None or abs(old.expires - deadline) > SLACK:
                packets, octets = (old.packets, old.bytes) if old else (before or {}).get(network, (0, 0))
                lpm_trie.put(fd, *key, bytes(lay.ExemptLayout(deadline, packets, octets)))
    except OSError as error:
        raise ApplyError(f"the kernel refused an exempt source ({error.strerror})", "geodrop verify") from error


def verify(fd: int, sources: Iterable[ExemptSource]) -> list[Difference]:
    """Compare the map with these sources. What has expired, or is about to, is no difference. Raises OSError."""
    wanted = {str(one.network): one.deadline for one in merged(sources)}
    return differences("xdp, exempt", wanted, deadlines(fd), clock.monotonic())


def deadlines(fd: int) -> dict[str, int]:
    """Return the deadline of everything that the map holds, by network. Raises OSError.

    The program finds what it looks for under any key, so a key that geodrop never writes is told as it is.
    """
    return {
        str(_network(key) or f"key {key[0]} {key[1].hex()}"): lay.ExemptLayout.from_buffer_copy(value).expires
        for key, value in lpm_trie.items(fd).items()
    }


def is_exempt(entries: Mapping[Network, lay.ExemptLayout], address: IPv4Address | IPv6Address, now: int) -> bool:
    """Tell whether the program lets an address pass at `now`: the longest network that holds it decides."""
    holding = [network for network in entries if address in network]
    return bool(holding) and entries[max(holding, key=lambda one: one.prefixlen)].expires > now


def totals(fd: int, sources: Iterable[ExemptSource]) -> dict[Network, tuple[int, int]]:
    """Return packets and bytes of these sources, as far as the map holds them. Raises OSError."""
    networks = {one.network for one in sources}
    return {network: (one.packets, one.bytes) for network, one in read(fd).items() if network in networks}


def _key(network: Network) -> Key:
    address = network.network_address.packed.ljust(_ADDRESS_BYTES, b"\0")
    return _FAMILY_BITS + network.prefixlen, bytes(ctypes.c_uint32(network.version)) + address


def _network(key: Key) -> Network | None:
    """Return the network of a key; None for a key that geodrop never writes."""
    length, data = key
    version, address = int.from_bytes(data[:4], "little"), data[4:]
    try:
        network = ip_network((address[:4] if version == 4 else address, length - _FAMILY_BITS))
    except ValueError:
        return None
    return network if _key(network) == key else None
