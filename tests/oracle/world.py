# SPDX-License-Identifier: Apache-2.0
"""What the oracle knows of the world without geodrop's code: special-purpose ranges, embedded IPv4, continents.

The tables are written from the sources named, not from geodrop's own tables, so that a mistake in either shows.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network

REGISTRY: tuple[tuple[str, bool | None], ...] = (
    # https://www.iana.org/assignments/iana-ipv4-special-registry, in its order, with the column "Globally Reachable".
    ("0.0.0.0/8", False),
    ("0.0.0.0/32", False),
    ("10.0.0.0/8", False),
    ("100.64.0.0/10", False),
    ("127.0.0.0/8", False),
    ("169.254.0.0/16", False),
    ("172.16.0.0/12", False),
    ("192.0.0.0/24", False),
    ("192.0.0.0/29", False),
    ("192.0.0.8/32", False),
    ("192.0.0.9/32", True),
    ("192.0.0.10/32", True),
    ("192.0.0.170/32", False),
    ("192.0.0.171/32", False),
    ("192.0.2.0/24", False),
    ("192.31.196.0/24", True),
    ("192.52.193.0/24", True),
    ("192.88.99.0/24", None),
    ("192.88.99.2/32", False),
    ("192.168.0.0/16", False),
    ("192.175.48.0/24", True),
    ("198.18.0.0/15", False),
    ("198.51.100.0/24", False),
    ("203.0.113.0/24", False),
    ("240.0.0.0/4", False),
    ("255.255.255.255/32", False),
    # https://www.iana.org/assignments/iana-ipv6-special-registry; ::ffff:0:0/96, 64:ff9b::/96, Teredo and 6to4 are
    # left to EMBEDDINGS.
    ("::1/128", False),
    ("::/128", False),
    ("64:ff9b:1::/48", False),
    ("100::/64", False),
    ("100:0:0:1::/64", False),
    ("2001::/23", False),
    ("2001:1::1/128", True),
    ("2001:1::2/128", True),
    ("2001:1::3/128", True),
    ("2001:2::/48", False),
    ("2001:3::/32", True),
    ("2001:4:112::/48", True),
    ("2001:10::/28", None),
    ("2001:20::/28", True),
    ("2001:30::/28", True),
    ("2001:db8::/32", False),
    ("2620:4f:8000::/48", True),
    ("3fff::/20", False),
    ("5f00::/16", False),
    ("fc00::/7", False),
    ("fe80::/10", False),
    # Not in the registries of RFC 6890, but named by docs/policy.md beside them.
    ("224.0.0.0/4", False),
    ("ff00::/8", False),
)

# A row with None says nothing about an address, so it is left out and the row around it counts.
_ROWS: dict[int, list[tuple[IPv4Network | IPv6Network, bool]]] = {4: [], 6: []}
for _text, _reachable in REGISTRY:
    if _reachable is not None:
        _ROWS[ip_network(_text).version].append((ip_network(_text), _reachable))

SIXTOFOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")
NAT64 = IPv6Network("64:ff9b::/96")
MAPPED = IPv6Network("::ffff:0:0/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")


def is_special(address: IPv4Address | IPv6Address) -> bool:
    """Whether the longest row of the registries that holds the address calls it not globally reachable."""
    rows = [(network.prefixlen, reachable) for network, reachable in _ROWS[address.version] if address in network]
    return bool(rows) and not max(rows)[1]


def embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one holds, if it holds one."""
    octets = address.packed
    if address in SIXTOFOUR:
        return IPv4Address(octets[2:6])
    if address in TEREDO:
        return IPv4Address(bytes(255 - octet for octet in octets[12:16]))
    if address in NAT64 or address in MAPPED:
        return IPv4Address(octets[12:16])
    return None


# GeoNames' countryInfo (CC BY 4.0), countries of ISO 3166-1 and XK; MaxMind and DB-IP draw on the same list.
COUNTRIES = {
    "AF": "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA "
    "NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    "AN": "AQ BV GS HM TF",
    "AS": "AE AF AM AZ BD BH BN BT CC CN GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM "
    "PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    "EU": "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME "
    "MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    "NA": "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC "
    "TT US VC VG VI",
    "OC": "AS AU CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    "SA": "AR BO BR CL CO EC FK GF GY PE PY SR UY VE",
}
CONTINENTS = {country: continent for continent, countries in COUNTRIES.items() for country in countries.split()}
