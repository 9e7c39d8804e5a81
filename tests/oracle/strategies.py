# SPDX-License-Identifier: Apache-2.0
"""Random worlds and random policies for hypothesis: small, nested, and close to every special range."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.oracle import world
from tests.support.databases import city, country

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Network = IPv4Network | IPv6Network

CITIES = {
    "5.43.0.0/16": ("UA", "43"),
    "2a0a:5::/32": ("UA", "09"),
    "2a0a:6::/32": ("UA", "40"),
    "5.82.0.0/16": ("RU", "CR"),
    "7.1.0.0/16": ("US", "CA"),
}
"""Always in the first database, so that a policy may name these subdivisions."""

CODES = ["CN", "RU", "US", "DE", "NO", "KP", "XK", "ZZ", "EU", "QQ"]
SUBDIVISIONS = ["UA-43", "UA-09", "US-CA"]
ATLAS = ["territory:crimea", "territory:luhansk", "atlas:five-eyes"]
CONTINENTS = ["continent:AS", "continent:EU", "continent:NA"]

CARRIED = {
    "13.0.0.0/9": {"autonomous_system_number": 64496, "autonomous_system_organization": "X"},
    "13.128.0.0/16": {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 50},
    "13.129.0.0/16": {"is_anonymous": True, "is_hosting_provider": True},
    "13.130.0.0/16": {"traits": {"is_anycast": True}},
}
"""Always in the last database, which has no countries, so that a policy may name all of this in lists."""

FIRST = {
    "14.0.0.0/8": country("DE"),
    "13.64.0.0/10": {**country("DE"), "asn": "AS64497"},
    "13.128.0.0/17": {**country("DE"), "is_vpn": True, "anonymizer_confidence": 30},
}
"""Always in the second database, if there is one: it knows a country, and contradicts what CARRIED says."""

ASNS = ["64496", "AS64497", "64498"]
TRAITS: list[list[Any]] = [["vpn"], [{"vpn": 50}], [{"vpn": 50}, "hosting"], ["hosting", "anycast", "vpn"]]

# Networks nest and touch more often when few addresses are in use.
IPV4_BASES = [
    "1.2.3.4",
    "5.43.9.9",
    "5.82.9.9",
    "7.1.0.255",
    "9.255.255.255",
    "11.0.0.1",
    "192.0.0.9",
    "192.88.99.2",
    "223.255.9.9",
]
IPV6_BASES = [
    "2001:200::1",
    "2400:1:2:3::4",
    "2600::ffff",
    "2a0a:5::1",
    "2a0a:6::1",
    "3ffe:ffff::1",
    "2001:20::5",
    "2001:4:112::7",
]
OUTSIDE_BASES = ["4000::1", "::1.2.3.4", "fec0::1", "64:ff9b:0:1::"]
EMBEDDED_BASES = ["2002:102:304::1", "2001:0:1:2:3:4:fefd:fcfb", "64:ff9b::102:304", "::ffff:1.2.3.4", "2002:a00:1::"]


@dataclass(frozen=True)
class Case:
    """Databases as records for `write_database`, a policy as text, and addresses to ask for."""

    databases: list[dict[str, Any]]
    policy: str
    addresses: list[str]


def networks(bases: Iterable[str], shortest: tuple[int, int] = (6, 8)) -> st.SearchStrategy[Network]:
    """Return networks of any length around the bases, including single addresses; `shortest` is a length a family."""

    def build(base: str, length: int) -> Network:
        bits = ip_address(base).max_prefixlen
        least = shortest[bits == 128]
        return ip_network(f"{base}/{least + length % (bits - least + 1)}", strict=False)

    return st.builds(build, st.sampled_from(list(bases)), st.integers(0, 127))


def records() -> st.SearchStrategy[dict[str, Any]]:
    """Return records of every kind that databases carry."""
    codes = st.sampled_from(CODES)
    return st.one_of(
        st.builds(country, codes),
        st.builds(country, codes, continent=st.sampled_from(["AS", "EU"])),
        st.builds(lambda code: country("", registered=code), codes),
        st.builds(lambda code: country("", continent=code), st.sampled_from(["AS", "EU", "NA"])),
        st.builds(lambda code: {"country_code": code}, codes),
    )


def attributes() -> st.SearchStrategy[dict[str, Any]]:
    """Return what records say besides a region, in the schemas of several vendors."""
    confidence = st.fixed_dictionaries({}, optional={"anonymizer_confidence": st.sampled_from([2, 30, 50, 99])})
    number = st.sampled_from([64496, 64497, 64499])
    return st.one_of(
        st.builds(lambda asn: {"autonomous_system_number": asn}, number),
        st.builds(lambda asn: {"asn": f"AS{asn}"}, number),
        st.builds(lambda asn: {"traits": {"autonomous_system_number": asn, "is_anycast": True}}, number),
        st.builds(lambda sure: {"is_anonymous": True, "is_anonymous_vpn": True, **sure}, confidence),
        st.just({"is_anonymous": True, "is_anonymous_vpn": True, "is_hosting_provider": True}),
        st.just({"vpn": True, "proxy": False, "tor": False, "hosting": False}),
        st.just({"vpn": "", "proxy": "true", "tor": "", "hosting": "true"}),
    )


def databases() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Return one or two databases of places, and one of networks and anonymisers.

    No network lies inside the cities, so that every subdivision stays.
    """
    cities = [ip_network(text) for text in CITIES]

    def usable(network: Network) -> bool:
        return not any(type(one) is type(network) and network.subnet_of(one) for one in cities)  # type: ignore[arg-type]

    keys = networks([*IPV4_BASES, *IPV6_BASES, "4000::1"], (4, 4)).filter(usable).map(str)
    first = st.dictionaries(keys, records(), max_size=8).map(
        lambda some: {**some, **{network: city(*place) for network, place in CITIES.items()}}
    )
    # Beside a country this field means that the country is the owner's (geo.contents).
    lite = attributes().filter(lambda record: "autonomous_system_number" not in record)
    mixed = st.one_of(records(), st.builds(lambda one, other: {**one, **other}, records(), lite))
    second = st.dictionaries(keys, mixed, max_size=6).map(lambda some: {**some, **FIRST})
    anywhere = networks([*IPV4_BASES, *IPV6_BASES, *OUTSIDE_BASES, *EMBEDDED_BASES, "10.1.2.3"], (4, 4)).map(str)
    # A network that holds ::/96 would replace the whole IPv4 tree.
    beside = anywhere.filter(lambda text: IPv6Address("::") not in ip_network(text))
    third = st.dictionaries(beside, attributes(), max_size=8).map(lambda some: {**some, **CARRIED})
    return st.tuples(first, st.lists(second, max_size=1), third).map(lambda parts: [parts[0], *parts[1], parts[2]])


@st.composite
def policies(draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
    """Return a correct policy of one to three services."""
    prefixes = networks([*IPV4_BASES, *IPV6_BASES, *OUTSIDE_BASES, *EMBEDDED_BASES, "10.1.2.3", "fd00::1"])
    texts = prefixes.map(_text)
    known = [code for code in CODES if code in world.CONTINENTS] + ["UA"]
    region_lines = st.sampled_from([*known, *SUBDIVISIONS, *ATLAS, *CONTINENTS])
    groups = {
        "inner": draw(st.lists(st.one_of(region_lines, texts), min_size=1, max_size=3, unique=True)),
        "outer": ["group:inner", *draw(st.lists(region_lines, min_size=1, max_size=3, unique=True))],
    }
    lists = {name: {"prefixes": draw(st.lists(texts, min_size=1, max_size=4, unique=True))} for name in ("one", "two")}
    numbers = st.lists(st.sampled_from(ASNS), min_size=1, unique=True)
    lists |= {name: {"asn": draw(numbers)} for name in ("nets", "more")}
    lists["anonymous"] = {"traits": draw(st.sampled_from(TRAITS))}
    named = [f"list:{name}" for name in lists]
    lines = st.one_of(region_lines, texts, st.sampled_from(["group:inner", "group:outer", *named]))
    services = {}
    for number in range(draw(st.integers(1, 3))):
        deny = draw(st.lists(lines, max_size=6, unique=True))
        allow = [line for line in draw(st.lists(lines, max_size=6, unique=True)) if line not in deny]
        services[f"s{number}"] = {
            "match": {"ports": {"tcp": [1000 + number]}},
            "default": draw(st.sampled_from(["allow", "deny"])),
            "unknown": draw(st.sampled_from(["allow", "deny"])),
            "allow": allow,
            "deny": deny,
            **draw(st.sampled_from([{}, {"mode": "monitor"}, {"starts": "2099-01-01T00:00:00Z"}])),
        }
    corrected = networks(["1.2.3.4", "9.9.9.9", "2400:1:2:3::4", "2600::ffff"], (8, 16)).filter(_correctable).map(str)
    return {
        "version": 1,
        "groups": groups,
        "lists": lists,
        "corrections": draw(st.dictionaries(corrected, st.sampled_from(known), max_size=3)),
        "never_drop": {"prefixes": draw(st.lists(texts, max_size=2, unique=True))},
        "services": services,
    }


@st.composite
def cases(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Case:
    """Return a world, a policy, and the addresses on both sides of every boundary in them, with random ones."""
    drawn, policy = draw(databases()), draw(policies())
    named = [network for records in drawn for network in records]
    named += [line for texts in _prefix_texts(policy) for line in texts]
    addresses = {address for network in _networks(named) for address in around(network)}
    addresses |= {str(ip_address(value)) for value in draw(st.lists(st.integers(0, 2**32 - 1), max_size=5))}
    addresses |= {str(IPv6Address(value)) for value in draw(st.lists(st.integers(0, 2**128 - 1), max_size=5))}
    addresses |= {address for text, _ in world.REGISTRY for address in around(ip_network(text))}
    ipv4 = [address for address in addresses if ":" not in address]
    addresses |= {
        form for address in draw(st.lists(st.sampled_from(sorted(ipv4)), max_size=30)) for form in embed(address)
    }
    return Case(drawn, json.dumps(policy, indent=1), sorted(addresses))


def around(network: Network) -> list[str]:
    """Return the first and last address of a network and their neighbours outside."""
    first, last = int(network.network_address), int(network.broadcast_address)
    inside = (first, last, first - 1, last + 1)
    return [str(type(network.network_address)(value)) for value in inside if 0 <= value < 2**network.max_prefixlen]


def embed(address: str) -> list[str]:
    """Return the IPv6 addresses that hold an IPv4 one, in each of the four ways."""
    value = int(ip_address(address))
    return [
        str(IPv6Address(int(IPv6Address("2002::")) | value << 80 | 5)),
        str(IPv6Address(int(IPv6Address("2001:0:4136:e378::")) | value ^ 0xFFFF_FFFF)),
        str(IPv6Address(int(IPv6Address("64:ff9b::")) | value)),
        str(IPv6Address(int(IPv6Address("::ffff:0:0")) | value)),
    ]


def _text(network: Network) -> str:
    """Return a network as people write it: a single address without its length."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _correctable(network: Network) -> bool:
    """Whether the network holds no special and no embedded address: those are errors in `corrections`."""
    rows = [ip_network(text) for text, _ in world.REGISTRY]
    rows += [world.SIXTOFOUR, world.TEREDO, world.NAT64, world.MAPPED]
    return not any(row.version == network.version and row.overlaps(network) for row in rows)


def _prefix_texts(policy: dict[str, Any]) -> Iterable[Iterable[str]]:
    yield from (body.get("prefixes", ()) for body in policy["lists"].values())
    yield from policy["groups"].values()
    yield from (service[side] for service in policy["services"].values() for side in ("allow", "deny"))
    yield policy["never_drop"]["prefixes"]
    yield policy["corrections"]


def _networks(texts: Iterable[str]) -> list[Network]:
    return [ip_network(text) for text in texts if text[0].isdigit() or ("::" in text and "list" not in text)]
