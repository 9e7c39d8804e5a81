# SPDX-License-Identifier: Apache-2.0
"""Names of everything in the table: how they are made, and how they are read. Pure.

    g42                     the generation chain: decides which service takes a packet
    g42.fragments           the same for later fragments; also .unreadable, .portless, .ah ...: see `entry`
    g42.window              the set that holds an element until generation 42 is confirmed or undone
    g42-api                 the chain of the service api
    g42-api.CN.ipv4         a chain it leads to: drops what counts as CN; also .accepted, .control, .source, .6to4 ...
    g42-api.ipv4            its verdict map; if cut into parts: g42-api.ipv4.1, g42-api.ipv4.2 ...
    g42-api.inside          the IPv4 map once more, for IPv4 addresses inside IPv6 ones
    g42-api.regions.ipv4    counts drops by region (CN, RU ...) that would else count as `other`; see `regions`
    g42-api.never-drop.ipv4 never-drop prefixes alone, for packets accepted before the main map is looked up
    api.CN.ipv4.dropped     a counter, which outlives generations: packets of the counter class CN
    api.ipv4.accepted       a counter of the whole service; also .never_drop, .exempted
    exempt-ipv4             the sources that pass for a limited time; belongs to the table, so it has no generation

A service's name has no dot (policy files do not allow one), so no name is ambiguous. Colons of labels such as
list:partners or 2001:db8::/32 become underscores, since nft could not read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geodrop.nftables.model import Space

TABLE = "geodrop"
BASE = "prerouting"
EXEMPT = {4: "exempt-ipv4", 6: "exempt-ipv6"}
"""The set of exempt sources of each family."""

_GENERATION = re.compile(r"g([0-9]+)(?:[-.].*)?", re.DOTALL)
_REGIONS = re.compile(r"g[0-9]+-[^.]+\.regions\.ipv[46](?:\.[0-9]+)?")
_WINDOW = re.compile(r"g[0-9]+\.window")
_COUNTER = re.compile(r"([^.]+)(?:\.(.+))?\.(ipv4|ipv6)\.(dropped|would_drop|accepted|never_drop|exempted)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CounterName:
    """What a counter counts; `label` is None for a counter of a whole service."""

    service: str
    label: str | None
    family: str
    what: str

    def __str__(self) -> str:
        label = "" if self.label is None else f".{_plain(self.label)}"
        return f"{self.service}{label}.{self.family}.{self.what}"


def counter(name: str) -> CounterName | None:
    """Read a counter's name; return None if it is not one of ours."""
    found = _COUNTER.fullmatch(name)
    if not found:
        return None
    service, label, family, what = found.groups()
    if (label is None) != (what in {"accepted", "never_drop", "exempted"}):
        return None
    return CounterName(service, None if label is None else _label(label), family, what)


def generation_chain(generation: int) -> str:
    """Return the name of the chain that the base chain leads to."""
    return f"g{generation}"


def way(generation: int, what: str) -> str:
    """Return the name of another chain of a generation, for packets that are led aside."""
    return f"g{generation}.{what}"


def service_chain(generation: int, service: str, suffix: str = "") -> str:
    """Return the name of a service's chain, or of a chain that it leads to; `suffix` may be a label."""
    return f"g{generation}-{service}" + (f".{_plain(suffix)}" if suffix else "")


def service_map(generation: int, service: str, space: Space) -> str:
    """Return the name of a service's map."""
    return f"g{generation}-{service}.{space.value}"


def never_drop_map(generation: int, service: str, family: int) -> str:
    """Return the name of the map that holds never-drop prefixes only."""
    return f"g{generation}-{service}.never-drop.ipv{family}"


def region_map(generation: int, service: str, family: int) -> str:
    """Return the name of the map that counts by region what would else count as `other`."""
    return f"g{generation}-{service}.regions.ipv{family}"


def window(generation: int) -> str:
    """Return the name of the set that ends a generation at its deadline."""
    return f"g{generation}.window"


def is_window(name: str) -> bool:
    """Tell whether a name is that of a window."""
    return bool(_WINDOW.fullmatch(name))


def is_region_map(name: str) -> bool:
    """Tell whether a name is that of a region map, or of a part of one."""
    return bool(_REGIONS.fullmatch(name))


def generation_of(name: str) -> int | None:
    """Return the generation that a chain or map belongs to; None for the base chain and foreign names."""
    found = _GENERATION.fullmatch(name)
    return int(found[1]) if found else None


def of_generation(name: str, generation: int) -> str:
    """Return the name that the same chain or map has in another generation."""
    return re.sub(r"\Ag[0-9]+", f"g{generation}", name)


def _plain(label: str) -> str:
    return label.replace(":", "_")


def _label(plain: str) -> str:
    """Undo `_plain`. Only list:NAME and continent:XX have a single colon, and only their names may hold underscores."""
    for kind in ("list", "continent"):
        if plain.startswith(f"{kind}_"):
            return plain.replace("_", ":", 1)
    return plain.replace("_", ":")
