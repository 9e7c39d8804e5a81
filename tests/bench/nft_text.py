# SPDX-License-Identifier: Apache-2.0
"""The text that an nft user would write: the same maps and sets, for `nft -f`."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.ruleset.model import Ruleset

TYPES = {4: ("ip", "ipv4_addr", IPv4Address), 6: ("ip6", "ipv6_addr", IPv6Address)}
WIDTH = {4: 4, 6: 16}


def intervals(ruleset: Ruleset, family: int) -> Iterator[tuple[int, int, int]]:
    """Yield first address, last address and target of each interval of the first service."""
    section, width = f"nft/{ruleset.meta.services[0].name}/ipv{family}", WIDTH[family]
    starts, ends = bytes(ruleset.sections[f"{section}/starts"]), bytes(ruleset.sections[f"{section}/ends"])
    for number, target in enumerate(ruleset.sections[f"{section}/targets"].cast("H")):
        first, end = (int.from_bytes(data[number * width : (number + 1) * width], "big") for data in (starts, ends))
        yield first, (end or 1 << 8 * width) - 1, target


def verdict_maps(ruleset: Ruleset, interface: str, port: int) -> str:
    """Return the maps of the ruleset's first service; each target is a chain that counts and drops."""
    targets = range(len(ruleset.meta.services[0].targets))
    counters = "".join(f"  counter c{target} {{ }}\n" for target in targets)
    chains = "".join(f"  chain t{target} {{ counter name c{target} drop; }}\n" for target in targets)
    maps, rules = "", ""
    for family, (keyword, kind, address) in TYPES.items():
        elements = ",\n".join(
            f"{address(first)}-{address(last)} : goto t{target}" for first, last, target in intervals(ruleset, family)
        )
        maps += f"  map m{family} {{ type {kind} : verdict; flags interval; elements = {{ {elements} }}; }}\n"
        rules += f"    tcp dport {port} {keyword} saddr vmap @m{family}\n"
    return f"table inet bench {{\n{counters}{chains}{maps}{_hook(interface, rules)}}}\n"


def plain_sets(ruleset: Ruleset, interface: str, port: int) -> str:
    """Return the same denied space as plain interval sets behind the same interface, port and never-drop rules."""
    sets, rules = "", "    tcp dport 22 accept\n"
    for family, (keyword, kind, address) in TYPES.items():
        # Plain sets hold no regions: adjacent intervals are joined, as a user's script would do.
        merged: list[list[int]] = []
        for first, last, target in intervals(ruleset, family):
            if ruleset.meta.services[0].targets[target].kind != "drop":
                continue
            if merged and merged[-1][1] + 1 == first:
                merged[-1][1] = last
            else:
                merged.append([first, last])
        elements = ",\n".join(f"{address(first)}-{address(last)}" for first, last in merged)
        sets += f"  set s{family} {{ type {kind}; flags interval; elements = {{ {elements} }}; }}\n"
        rules += f"    tcp dport {port} {keyword} saddr @s{family} counter drop\n"
    return f"table inet bench {{\n{sets}{_hook(interface, rules)}}}\n"


def synthetic_map(ranges: Sequence[tuple[int, int]], interface: str, port: int) -> str:
    """Return a verdict map of these IPv4 ranges, all leading to one chain."""
    elements = ",\n".join(f"{IPv4Address(first)}-{IPv4Address(last)} : goto denied" for first, last in ranges)
    return (
        "table inet bench {\n  counter dropped { }\n  chain denied { counter name dropped drop; }\n"
        f"  map m4 {{ type ipv4_addr : verdict; flags interval; elements = {{ {elements} }}; }}\n"
        f"{_hook(interface, f'    tcp dport {port} ip saddr vmap @m4{chr(10)}')}}}\n"
    )


def denied_addresses(ruleset: Ruleset, family: int, count: int) -> list[IPv4Address | IPv6Address]:
    """Return random addresses in random dropped intervals; the same ones every time."""
    rng = random.Random(1)
    targets = ruleset.meta.services[0].targets
    dropped = [(first, last) for first, last, target in intervals(ruleset, family) if targets[target].kind == "drop"]
    chosen = (rng.randint(*rng.choice(dropped)) for _ in range(count))
    return [IPv4Address(number) if family == 4 else IPv6Address(number) for number in chosen]


def _hook(interface: str, rules: str) -> str:
    return (
        "  chain prerouting {\n    type filter hook prerouting priority -450; policy accept;\n"
        f'    iifname != "{interface}" accept\n{rules}  }}\n'
    )
