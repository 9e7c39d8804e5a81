"""Which interfaces packets are judged on: those named, with their VLANs, or those that hold a default route."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from geodrop.dataplane.rtnetlink import default_routes, read_links

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from geodrop.dataplane.rtnetlink import Link

VIRTUAL = frozenset(
    {"bridge", "veth", "tun", "ipip", "sit", "gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6tnl", "vti", "vti6"}
    | {"xfrm", "vxlan", "geneve", "wireguard", "ppp", "bareudp", "gtp", "dummy", "ifb", "nlmon"}
)
"""Kinds (IFLA_INFO_KIND, rtnetlink(7)) that are never taken unless named: their packets came in by another interface,
or from this very host."""

LOOPBACK = "lo"

EVERY = "*"
"""The name of every interface but loopback and those of VIRTUAL kinds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`names` for an engine, which may end in `*`; `absent` are names and patterns that no interface has now.

    `present` are the interfaces that are there and meant, VLANs included.
    """

    names: tuple[str, ...]
    absent: tuple[str, ...] = ()
    present: tuple[Link, ...] = ()


def select(wanted: Sequence[str]) -> Selection:
    """The interfaces of this network namespace that are meant; nothing wanted means those with a default route."""
    links = read_links()
    return resolve(wanted or with_default_route(links, default_routes()), links)


def resolve(wanted: Iterable[str], links: Sequence[Link]) -> Selection:
    """Add the VLANs of what is wanted. Patterns other than a trailing `*` can only match what is there now."""
    names: list[str] = []
    absent: list[str] = []
    found: dict[Link, None] = {}
    for name in wanted:
        present = [link for link in links if _is_meant(name, link)]
        if not present:
            absent.append(name)
        kept = [name] if is_prefix(name) or not is_pattern(name) else [link.name for link in present]
        vlans = vlans_of(present, links)
        names += kept + [link.name for link in vlans]
        found |= dict.fromkeys((*present, *vlans))
    # An interface that a prefix already covers needs no rule of its own.
    prefixes = [name for name in names if is_prefix(name) and name != EVERY]
    needed = [name for name in names if is_prefix(name) or not any(fnmatchcase(name, prefix) for prefix in prefixes)]
    return Selection(tuple(dict.fromkeys(needed)), tuple(absent), tuple(found))


def _is_meant(name: str, link: Link) -> bool:
    if name == EVERY:
        return link.name != LOOPBACK and link.kind not in VIRTUAL
    return fnmatchcase(link.name, name)


def vlans_of(parents: Sequence[Link], links: Sequence[Link]) -> list[Link]:
    """The VLANs on some interfaces, and the VLANs on those."""
    indexes = {link.index for link in parents}
    found = [link for link in links if link.kind == "vlan" and link.parent in indexes]
    return [*found, *vlans_of(found, links)] if found else []


def with_vlans(indexes: Collection[int]) -> set[int]:
    """Numbers of interfaces of this network namespace, and of the VLANs on them."""
    links = read_links()
    present = [link for link in links if link.index in indexes]
    return {link.index for link in (*present, *vlans_of(present, links))}


def with_default_route(links: Sequence[Link], routes: Collection[int]) -> list[str]:
    """Those with a default route of either family, which holds no loopback, bridge, veth or tunnel."""
    return [link.name for link in links if link.index in routes and _is_meant(EVERY, link)]


def is_pattern(name: str) -> bool:
    """Whether a name stands for several."""
    return any(character in name for character in "*?[")


def is_prefix(name: str) -> bool:
    """Whether a name is a plain beginning and `*`, which the kernel can match by itself, for interfaces to come too."""
    return name.endswith("*") and not is_pattern(name[:-1])
