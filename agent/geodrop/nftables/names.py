"""Names of everything in the table, and back from names to what they stand for. Pure.

    g42                     the generation chain: which service takes a packet
    g42.fragments           the same for later fragments; also .unreadable, .portless, .ah ...: see `entry`
    g42-api                 the chain of the service api
    g42-api.CN.ipv4         chains it leads to: drop what counts as CN; also .accepted, .control, .source, .6to4 ...
    g42-api.ipv4            its verdict map; cut in several: g42-api.ipv4.1, g42-api.ipv4.2 ...
    g42-api.inside          the IPv4 map once more, for addresses inside IPv6 ones
    g42-api.regions.ipv4    tells apart what is dropped as CN, RU ... and would count as `other`; see `regions`
    g42-api.never-drop.ipv4 never-drop prefixes alone, for what is let through before the other map is asked
    api.CN.ipv4.dropped     counters, which outlive generations: packets of the counter class CN
    api.ipv4.accepted       counters of the whole service

A service's name has no dot (policy files do not allow one), so no name can mean two things. Colons of labels such as
list:partners or 2001:db8::/32 become underscores: nft could not read them otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geodrop.nftables.model import Space

TABLE = "geodrop"
BASE = "prerouting"

_GENERATION = re.compile(r"g([0-9]+)(?:[-.].*)?", re.DOTALL)
_REGIONS = re.compile(r"g[0-9]+-[^.]+\.regions\.ipv[46](?:\.[0-9]+)?")
_COUNTER = re.compile(r"([^.]+)(?:\.(.+))?\.(ipv4|ipv6)\.(dropped|would_drop|accepted|never_drop)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CounterName:
    """What a counter counts; `label` is None for those of a whole service."""

    service: str
    label: str | None
    family: str
    what: str

    def __str__(self) -> str:
        label = "" if self.label is None else f".{_plain(self.label)}"
        return f"{self.service}{label}.{self.family}.{self.what}"


def counter(name: str) -> CounterName | None:
    """Read a counter's name; None if it is none of ours."""
    found = _COUNTER.fullmatch(name)
    if not found:
        return None
    service, label, family, what = found.groups()
    if (label is None) != (what in {"accepted", "never_drop"}):
        return None
    return CounterName(service, None if label is None else _label(label), family, what)


def generation_chain(generation: int) -> str:
    """The chain that the base chain leads to."""
    return f"g{generation}"


def way(generation: int, what: str) -> str:
    """Another chain of a generation, for what is led aside."""
    return f"g{generation}.{what}"


def service_chain(generation: int, service: str, suffix: str = "") -> str:
    """A service's chain, or one of those that it leads to; `suffix` may be a label."""
    return f"g{generation}-{service}" + (f".{_plain(suffix)}" if suffix else "")


def service_map(generation: int, service: str, space: Space) -> str:
    """A service's map."""
    return f"g{generation}-{service}.{space.value}"


def never_drop_map(generation: int, service: str, family: int) -> str:
    """The map of the never-drop prefixes alone."""
    return f"g{generation}-{service}.never-drop.ipv{family}"


def region_map(generation: int, service: str, family: int) -> str:
    """The map that tells apart what would count as `other`."""
    return f"g{generation}-{service}.regions.ipv{family}"


def is_region_map(name: str) -> bool:
    """Whether it is such a map, or a part of one."""
    return bool(_REGIONS.fullmatch(name))


def generation_of(name: str) -> int | None:
    """The generation that a chain or map belongs to; None for the base chain and what is not ours."""
    found = _GENERATION.fullmatch(name)
    return int(found[1]) if found else None


def of_generation(name: str, generation: int) -> str:
    """What a chain or map of one generation is called in another."""
    return re.sub(r"\Ag[0-9]+", f"g{generation}", name)


def _plain(label: str) -> str:
    return label.replace(":", "_")


def _label(plain: str) -> str:
    """Undo `_plain`: only list:NAME and continent:XX have one colon, and only they may hold underscores otherwise."""
    for kind in ("list", "continent"):
        if plain.startswith(f"{kind}_"):
            return plain.replace("_", ":", 1)
    return plain.replace("_", ":")
