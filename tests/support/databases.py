# SPDX-License-Identifier: Apache-2.0
"""Databases for tests: small ones written here in MaxMind's schema, and the places of the real ones.

The real ones come from npm; `make test-databases` puts them into the folder that `GEODROP_TEST_DATABASES` names
(build/databases without it), one NAME.mmdb for each of `REAL`.
"""

from __future__ import annotations

import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdb_writer import MMDBWriter, SearchTreeNode
from netaddr import IPNetwork, IPSet

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILD_EPOCH = 1_780_000_000  # May 2026

REAL = ("dbip-country", "geolite2-country", "iptoasn-country")
"""The @ip-location-db packages that the real databases come from, without the ending -mmdb."""

ALIASES = ("2002::/16", "2001::/32", "::ffff:0:0/96")
"""Networks where MaxMind's databases repeat their IPv4 tree."""


def country(code: str, *, registered: str | None = None, continent: str | None = None) -> dict[str, Any]:
    """Return a GeoIP2 Country record; an empty code leaves `country` out."""
    record: dict[str, Any] = {}
    if continent is not None:
        record["continent"] = {"code": continent}
    if code:
        record["country"] = {"iso_code": code}
    if registered is not None:
        record["registered_country"] = {"iso_code": registered}
    return record


def city(code: str, subdivision: str | None = None) -> dict[str, Any]:
    """Return a GeoIP2 City record; the subdivision is given without its country (43 for UA-43)."""
    record = country(code, registered=code)
    if subdivision is not None:
        record["subdivisions"] = [{"iso_code": subdivision}]
    return record


def write_database(
    path: Path,
    records: Mapping[str, Any],
    *,
    database_type: str = "GeoIP2-Country",
    ip_version: int = 6,
    aliases: bool = False,
) -> Path:
    """Write a database and return its path. `records` maps networks, nested ones in any order, to records.

    `aliases` repeats the IPv4 tree at 6to4, Teredo and mapped addresses, as MaxMind's own files do.
    """
    writer = _Writer(ip_version, database_type, languages=["en"], ipv4_compatible=ip_version == 6)
    # The writer splits a network for a nested one inserted later, but not for one inserted earlier.
    for text in sorted(records, key=lambda text: ip_network(text).prefixlen):
        writer.insert_network(IPSet([IPNetwork(text)]), records[text])
    if aliases:
        ipv4 = _descend(writer.tree, "::", 96)
        for text in ALIASES:
            network = ip_network(text)
            parent = _descend(writer.tree, str(network.network_address), network.prefixlen - 1)
            parent[_bit(network.network_address.packed, network.prefixlen - 1)] = ipv4
    writer.to_db_file(str(path))
    return path


def real_database(name: str) -> Path:
    """Return the file of one of `REAL`."""
    folder = os.environ.get("GEODROP_TEST_DATABASES") or Path(__file__).parents[2] / "build" / "databases"
    return Path(folder) / f"{name}.mmdb"


class _Writer(MMDBWriter):
    """A database writer that writes the same bytes every time."""

    def _build_meta(self) -> dict[str, Any]:
        return {**super()._build_meta(), "build_epoch": BUILD_EPOCH}


def _descend(node: SearchTreeNode, address: str, depth: int) -> SearchTreeNode:
    """Return the node at this depth on the way to an address; make missing nodes, and split leaves."""
    packed = ip_address(address).packed
    for position in range(depth):
        child = node[_bit(packed, position)]
        if not isinstance(child, SearchTreeNode):
            child = SearchTreeNode(child, child)
            node[_bit(packed, position)] = child
        node = child
    return node


def _bit(packed: bytes, position: int) -> int:
    return packed[position // 8] >> (7 - position % 8) & 1
