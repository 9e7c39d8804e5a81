# SPDX-License-Identifier: Apache-2.0
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise

import pytest

from geodrop.policy.spans import meets
from geodrop.policy.special import (
    EMBEDDED,
    GLOBAL_UNICAST,
    REACHABLE,
    SPECIAL,
    embedded_inside,
    is_special,
    public_spans,
    special_inside,
    special_spans,
)
from tests.unit.geo.addresses import embedding

REGISTRY = {
    # The IANA IPv4 and IPv6 Special-Purpose Address Registries of 2025-10-09, column Globally Reachable, row by row;
    # None if the row has no value (N/A, or terminated).
    "0.0.0.0/8": False,
    "0.0.0.0/32": False,
    "10.0.0.0/8": False,
    "100.64.0.0/10": False,
    "127.0.0.0/8": False,
    "169.254.0.0/16": False,
    "172.16.0.0/12": False,
    "192.0.0.0/24": False,
    "192.0.0.0/29": False,
    "192.0.0.8/32": False,
    "192.0.0.9/32": True,
    "192.0.0.10/32": True,
    "192.0.0.170/32": False,
    "192.0.0.171/32": False,
    "192.0.2.0/24": False,
    "192.31.196.0/24": True,
    "192.52.193.0/24": True,
    "192.88.99.0/24": None,
    "192.88.99.2/32": False,
    "192.168.0.0/16": False,
    "192.175.48.0/24": True,
    "198.18.0.0/15": False,
    "198.51.100.0/24": False,
    "203.0.113.0/24": False,
    "240.0.0.0/4": False,
    "255.255.255.255/32": False,
    "::1/128": False,
    "::/128": False,
    "::ffff:0:0/96": False,
    "64:ff9b::/96": True,
    "64:ff9b:1::/48": False,
    "100::/64": False,
    "100:0:0:1::/64": False,
    "2001::/23": False,
    "2001::/32": None,
    "2001:1::1/128": True,
    "2001:1::2/128": True,
    "2001:1::3/128": True,
    "2001:2::/48": False,
    "2001:3::/32": True,
    "2001:4:112::/48": True,
    "2001:10::/28": None,
    "2001:20::/28": True,
    "2001:30::/28": True,
    "2001:db8::/32": False,
    "2002::/16": None,
    "2620:4f:8000::/48": True,
    "3fff::/20": False,
    "5f00::/16": False,
    "fc00::/7": False,
    "fe80::/10": False,
}
MULTICAST = ("224.0.0.0/4", "ff00::/8")


def expected(text: str) -> bool:
    """Return whether an address is special by the registry: longest row with a value, multicast, no embedded IPv4."""
    address = ip_address(text)
    if any(address in network for network in EMBEDDED.values()):
        return False
    if any(address in ip_network(prefix) for prefix in MULTICAST):
        return True
    rows = [
        (network.prefixlen, reachable)
        for prefix, reachable in REGISTRY.items()
        if reachable is not None and address in (network := ip_network(prefix))
    ]
    return bool(rows) and not max(rows)[1]


def edges() -> list[str]:
    """Return the first and last address of every row, and their neighbours."""
    found = set()
    for prefix in (*REGISTRY, *MULTICAST):
        network = ip_network(prefix)
        for edge in (network.network_address, network.broadcast_address):
            for step in (-1, 0, 1):
                value = int(edge) + step
                if 0 <= value < 1 << network.max_prefixlen:
                    found.add(str(type(edge)(value)))
    return sorted(found)


@pytest.mark.parametrize("text", edges())
def test_special_is_what_the_registry_says(text: str) -> None:
    """At every boundary of the registries the table agrees with IANA's own rows."""
    assert is_special(ip_address(text)) == expected(text)


@pytest.mark.parametrize("text", ["8.8.8.8", "2a00::1", "::2", "fec0::1", "4000::1", "::ffff:10.0.0.1", "2002:a00::"])
def test_ordinary_unknown_and_embedded_addresses_are_not_special(text: str) -> None:
    """Addresses in no registry are not special; addresses that embed IPv4 are judged by the IPv4 address."""
    assert not is_special(ip_address(text))


@pytest.mark.parametrize("table", [SPECIAL, REACHABLE])
def test_tables_are_sorted_and_disjoint(table: tuple[object, ...]) -> None:
    """The tables are sorted and without overlap, which code that combines them relies on."""
    networks = [ip_network(str(network)) for network in table]
    for one, other in pairwise(networks):
        assert (one.version, int(one.network_address)) < (other.version, int(other.network_address))
        assert one.version != other.version or not one.overlaps(other)


def test_reachable_lies_inside_special() -> None:
    """Every exception lies inside the special range that it is an exception to."""
    for exception in REACHABLE:
        assert any(str(exception) != str(network) and expected_inside(exception, network) for network in SPECIAL)


def expected_inside(inner: object, outer: object) -> bool:
    """Return whether a network lies inside another, by its first and last address."""
    small, large = ip_network(str(inner)), ip_network(str(outer))
    return small.version == large.version and small.network_address in large and small.broadcast_address in large


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2002:808:808::1", "6to4"),
        ("2001::1", "teredo"),
        ("2001:1::1", None),
        ("64:ff9b::808:808", "nat64"),
        ("64:ff9b:1::1", None),
        ("::ffff:8.8.8.8", "mapped"),
        ("::8.8.8.8", None),
        ("2a00::1", None),
    ],
)
def test_embedding(text: str, name: str | None) -> None:
    """Each way to embed IPv4 is recognised by its range; IPv4-compatible addresses (::/96) are not one."""
    assert embedding(IPv6Address(text)) == name


@pytest.mark.parametrize(
    ("prefix", "special"),
    [
        ("8.8.8.0/24", None),
        ("198.51.100.0/25", "198.51.100.0/24"),
        ("8.0.0.0/5", "10.0.0.0/8"),
        ("192.0.0.9/32", None),
        ("192.0.0.8/31", "192.0.0.0/24"),
        ("192.88.99.0/24", "192.88.99.2/32"),
        ("192.88.99.128/25", None),
        ("2001:20::/27", None),
        ("2001:0:808::/48", None),
        ("2001::/23", "2001::/23"),
        ("2a00::/16", None),
        ("::/0", "::/128"),
    ],
)
def test_special_inside(prefix: str, special: str | None) -> None:
    """A network with one special address is found, and one that consists of exceptions is not."""
    found = special_inside(ip_network(prefix))
    assert (str(found) if found else None) == special


@pytest.mark.parametrize(
    ("prefix", "name"), [("2002:808::/32", "6to4"), ("2000::/3", "6to4"), ("2a00::/16", None), ("8.8.8.0/24", None)]
)
def test_embedded_inside(prefix: str, name: str | None) -> None:
    """A network that has embedded IPv4 anywhere in it is found."""
    assert embedded_inside(ip_network(prefix)) == name


def test_global_unicast() -> None:
    """GLOBAL_UNICAST is the boundary between addresses that may have a region and unknown ones (RFC 4291)."""
    assert str(GLOBAL_UNICAST) == "2000::/3"


@pytest.mark.parametrize("version", [4, 6])
def test_spans_say_what_single_addresses_do(version: int) -> None:
    """At and beside both ends of every table entry, spans agree with the lookup of a single address."""
    special, public = special_spans(version), public_spans(version)
    networks = [n for n in (*SPECIAL, *REACHABLE, *EMBEDDED.values()) if n.version == version]
    ends = {int(end) + step for n in networks for end in (n[0], n[-1]) for step in (-1, 0, 1)}
    make = IPv4Address if version == 4 else IPv6Address
    for value in ends:
        if not 0 <= value < 2 ** (32 if version == 4 else 128):
            continue
        address = make(value)
        assert meets(special, value, value) == is_special(address)
        ordinary = not is_special(address)
        if isinstance(address, IPv6Address):
            ordinary = ordinary and address in GLOBAL_UNICAST and not embedding(address)
        assert meets(public, value, value) == ordinary
