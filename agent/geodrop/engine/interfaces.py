# SPDX-License-Identifier: Apache-2.0
"""Select the interfaces on which packets are judged: the named ones with their VLANs, or those with a default route."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from geodrop.linux.network import VRF, read_network

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from geodrop.linux.network import Link, Network

VIRTUAL = frozenset(
    {"bridge", "veth", "tun", "ipip", "sit", "gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6tnl", "vti", "vti6"}
    | {"ip6erspan", "xfrm", "vxlan", "geneve", "wireguard", "ovpn", "ppp", "bareudp", "gtp", "pfcp", "amt", "netkit"}
    | {"dummy", "ifb", "nlmon", VRF}
)
"""Kinds of interfaces that are judged only if named: their packets came in by another interface, or from this host.
Kinds are values of IFLA_INFO_KIND (rtnetlink(7); `kind` of each rtnl_link_ops of Linux, as in drivers/net/netkit.c).
"""

AGGREGATES = frozenset({"bond", "team"})
"""Kinds of masters that form one interface with their ports: everything that arrives on a port arrives
on the master.
"""

LOOPBACK = "lo"

LEFT_OUT = "!"
"""A configured name that begins with this is left out; the rest of it may be an alternative name."""

LONGEST_NAME = 15
"""The length in bytes of an interface's own name; longer names are alternative names, which no rule can match."""

EVERY = "*"
"""The name for every interface except loopback and those of VIRTUAL kinds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected interfaces. `names` are for an engine and may end in `*`.

    `absent` are names and patterns that no interface has now. `present` are the selected interfaces that exist, VLANs
    included; `links` are all that exist; `ipsec` is as in Network.
    """

    names: tuple[str, ...]
    absent: tuple[str, ...] = ()
    present: tuple[Link, ...] = ()
    links: tuple[Link, ...] = ()
    ipsec: bool | None = False


def select(configured: Sequence[str], held: Collection[str] = ()) -> Selection:
    """Return the selected interfaces of this network namespace; `held` as in `meant`."""
    network = read_network()
    return selected(configured, network, held)


def selected(configured: Sequence[str], network: Network, held: Collection[str] = ()) -> Selection:
    """Return the selected interfaces of a network that was read before; `held` as in `meant`."""
    return replace(resolve(meant(configured, network, held), network.links), ipsec=network.ipsec)


def meant(configured: Sequence[str], network: Network | None, held: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names to judge packets on: those configured, else those with a default route in any table.

    An interface that is judged already (`held`) stays selected while it exists: its addresses can still be reached
    while the default route moves for a moment. The boot unit does not know the network; then every interface that could
    be selected later is. A pattern with more than a `*` at its end is then widened to its fixed beginning, so it judges
    too many interfaces until a later load that can see them. Narrowing it would leave some unjudged.
    """
    named = tuple(name for name in configured if not name.startswith(LEFT_OUT))
    if network is None:
        names = [_beginning(name) + "*" if is_pattern(name) else name for name in named]
        # An alternative name belongs to an interface that is not known yet.
        known = dict.fromkeys(name if _can_be_matched(name) else EVERY for name in names)
        return tuple(known) or (EVERY,)
    return named or tuple(
        link.name
        for link in network.links
        if is_taken_unnamed(link)
        and not is_left_out(link, configured)
        and (network.tables(link.index) or link.name in held)
    )


def is_left_out(link: Link, configured: Sequence[str]) -> bool:
    """Tell whether an interface is explicitly left out: it is not judged, and that is no problem."""
    return any(LEFT_OUT + name in configured for name in link.names)


def resolve(wanted: Iterable[str], links: Sequence[Link]) -> Selection:
    """Add the VLANs of the wanted interfaces. Patterns other than a trailing `*` match only interfaces that exist.

    An alternative name stands for its interface; the kernel matches the interface's own name.
    """
    names: list[str] = []
    absent: list[str] = []
    found: dict[Link, None] = {}
    for name in wanted:
        present = [link for link in links if is_meant(name, link)]
        if not present:
            absent.append(name)
        if is_prefix(name):
            kept = [name, *(link.name for link in present if not fnmatchcase(link.name, name))]
        elif is_pattern(name) or present:
            kept = [link.name for link in present]
        else:
            kept = [name]
        vlans = vlans_of(present, links)
        names += kept + [link.name for link in vlans]
        found |= dict.fromkeys((*present, *vlans))
    # An interface that a prefix already matches needs no rule of its own.
    prefixes = [name for name in names if is_prefix(name) and name != EVERY]
    needed = [name for name in names if is_prefix(name) or not any(fnmatchcase(name, prefix) for prefix in prefixes)]
    return Selection(tuple(dict.fromkeys(filter(_can_be_matched, needed))), tuple(absent), tuple(found), tuple(links))


def is_meant(name: str, link: Link) -> bool:
    """Tell whether a configured name or pattern stands for an interface."""
    if name == EVERY:
        return is_taken_unnamed(link)
    return any(fnmatchcase(one, name) for one in link.names)


def is_taken_unnamed(link: Link) -> bool:
    """Tell whether an interface may be judged without being named."""
    return link.name != LOOPBACK and link.kind not in VIRTUAL


def vlans_of(parents: Sequence[Link], links: Sequence[Link]) -> list[Link]:
    """Return the VLANs on some interfaces, and the VLANs on those."""
    indexes = {link.index for link in parents}
    found = [link for link in links if link.kind == "vlan" and link.parent in indexes]
    return [*found, *vlans_of(found, links)] if found else []


def carries(carrier: Link, link: Link) -> bool:
    """Tell whether judging one interface's frames judges the other's: its VLANs, or the ports of a bond."""
    return (link.kind == "vlan" and carrier.index == link.parent) or (
        carrier.kind in AGGREGATES and carrier.index == link.master
    )


def with_carried(indexes: Collection[int], links: Sequence[Link]) -> set[int]:
    """Return these interface numbers and those of interfaces whose frames they carry."""
    found = [link for link in links if link.index in indexes]
    for carrier in found:
        found += [link for link in links if carries(carrier, link) and link not in found]
    return {link.index for link in found}


def is_pattern(name: str) -> bool:
    """Tell whether a name is a pattern, which may match several interfaces."""
    return any(character in name for character in "*?[")


def is_prefix(name: str) -> bool:
    """Tell whether a name is plain text and a `*`; the kernel can match it by itself, for future interfaces too."""
    return name.endswith("*") and not is_pattern(name[:-1])


def _can_be_matched(name: str) -> bool:
    return len(name.removesuffix("*").encode()) <= LONGEST_NAME


def _beginning(pattern: str) -> str:
    return pattern[: min(at for at in (pattern.find(sign) for sign in "*?[") if at >= 0)]
