# SPDX-License-Identifier: Apache-2.0
"""Check that packets are judged on every interface that the operator meant: rules and links against what exists.

A rule for a name that no interface has judges nothing. Neither does a rule for a port of a bridge: nftables sees its
packets on the bridge. Pure, except `read_coverage`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop.engine.interfaces import (
    AGGREGATES,
    EVERY,
    is_left_out,
    is_pattern,
    is_prefix,
    is_taken_unnamed,
    selected,
)
from geodrop.linux.network import VRF, Network, read_network
from geodrop.nftables.flowtables import NEXT_STEP
from geodrop.xdp.requirements import unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from geodrop.dataplane.both import BothEngines
    from geodrop.engine.api import Interface
    from geodrop.linux.network import Link
    from geodrop.nftables.flowtables import Bypass

UPLINKS = frozenset({"bridge", "ppp"})
"""Kinds that are judged only if named, although on them packets from outside first have an IP header. If they have a
default route, that is reported. Tunnels and veths are not among them: their packets came in by another interface.
"""

_RELOAD = "geodrop reload"


@dataclass(frozen=True, slots=True)
class Coverage:
    """`judged` are the existing interfaces whose packets are judged; `problems` says which others should be.

    If no interface is judged, nothing is enforced, whatever rules exist. `links` holds, for each interface in force and
    in the same order, the names of the links that it judges; empty if it waits for one to appear.
    """

    judged: tuple[str, ...]
    problems: tuple[str, ...] = ()
    links: tuple[tuple[str, ...], ...] = ()


def read_coverage(configured: Sequence[str], engines: BothEngines, interfaces: Sequence[Interface]) -> Coverage:
    """Return the coverage of what is in force, as `observe` returned it. Raises UnavailableError."""
    network = read_network()
    found = coverage(configured, network, interfaces, engines.left_to_xdp())
    programs = {one.name for one in interfaces if one.engine == "xdp"}
    by_nftables = [name for name in found.judged if name not in programs]
    return replace(found, problems=(*found.problems, *_bypasses(engines.bypasses(), by_nftables)))


def coverage(
    configured: Sequence[str], network: Network, interfaces: Sequence[Interface], exempt: Collection[int]
) -> Coverage:
    """Return the coverage; `exempt` are numbers of interfaces whose packets nftables accepts because xdp
    judges them.
    """
    judging = _Judging(network, interfaces, exempt)
    by = judging.all()
    names = tuple(link.name for link in network.links if link.index in by)
    links = tuple(judging.by(interface) for interface in interfaces)
    return Coverage(names, tuple(_problems(configured, network, interfaces, by)), links)


def _bypasses(found: Sequence[Bypass], names: Sequence[str]) -> Iterator[str]:
    for bypass in found:
        if taken := bypass.among(names):
            yield (
                f"{bypass} takes forwarded packets of open connections from {', '.join(taken)} before nftables judges "
                f"them, so a connection that is open is not cut; next: {NEXT_STEP}"
            )


def judged(network: Network, interfaces: Sequence[Interface], exempt: Collection[int]) -> set[int]:
    """Return the numbers of the existing interfaces whose packets an engine judges."""
    return _Judging(network, interfaces, exempt).all()


class _Judging:
    def __init__(self, network: Network, interfaces: Sequence[Interface], exempt: Collection[int]) -> None:
        self._links = {link.index: link for link in network.links}
        self._attached = {one.name for one in interfaces if one.engine == "xdp"}
        self._rules = [one.name for one in interfaces if one.engine != "xdp"]
        self._exempt = exempt

    def all(self) -> set[int]:
        return {index for index, link in self._links.items() if self._is_judged(link)}

    def by(self, interface: Interface) -> tuple[str, ...]:
        """Return the names of the links that an interface in force judges by itself."""
        if interface.engine == "xdp":
            found = [link for link in self._links.values() if link.name == interface.name and not unreadable(link)]
        else:
            found = [link for link in self._links.values() if _matches(interface.name, link) and self._reaches(link)]
        return tuple(link.name for link in found)

    def _is_judged(self, link: Link) -> bool:
        if self._by_xdp(link) or self._by_nftables(link):
            return True
        if master := self._master(link):
            return self._is_judged_itself(master)
        return self._through_ports(link)

    def _is_judged_itself(self, link: Link) -> bool:
        master = self._master(link)
        return self._by_xdp(link) or self._by_nftables(link) or (master is not None and self._is_judged_itself(master))

    def _by_xdp(self, link: Link) -> bool:
        """Tell whether a program judges on the interface, or on the one that carries its frames."""
        carrier = self._links.get(link.parent)
        return (link.name in self._attached and not unreadable(link)) or (carrier is not None and self._by_xdp(carrier))

    def _by_nftables(self, link: Link) -> bool:
        return self._reaches(link) and any(_matches(name, link) for name in self._rules)

    def _reaches(self, link: Link) -> bool:
        """Tell whether nftables sees packets under the interface's name, and does not accept them for xdp."""
        return link.index not in self._exempt and self._master(link) is None

    def _master(self, link: Link) -> Link | None:
        """Return the master that an interface gives its packets to before nftables sees them; a VRF keeps the port's
        name.
        """
        master = self._links.get(link.master)
        return None if master is None or master.kind == VRF else master

    def _through_ports(self, link: Link) -> bool:
        """Tell whether packets from outside are judged at the ports of a bridge or bond; a bond has no guests behind
        ports.
        """
        ports = [port for port in self._links.values() if port.master == link.index and link.kind != VRF]
        at_ports = [port for port in ports if self._by_xdp(port)]
        outside = [port for port in ports if link.kind in AGGREGATES or is_taken_unnamed(port)]
        return bool(at_ports) and all(port in at_ports for port in outside)


def _matches(name: str, link: Link) -> bool:
    """Match a name like the kernel does in a rule, which knows no alternative names."""
    if name == EVERY:
        return is_taken_unnamed(link)
    return link.name.startswith(name[:-1]) if is_prefix(name) else link.name == name


def _problems(
    configured: Sequence[str], network: Network, interfaces: Sequence[Interface], by: Collection[int]
) -> Iterator[str]:
    selection = selected(configured, network)
    for name in selection.absent:
        if not is_pattern(name):
            yield (
                f"no interface {name} is there: mistyped, renamed, or in another network namespace; next: ip link, "
                f"correct `interfaces` in agent.yaml, then {_RELOAD}"
            )
    chosen = {link.index for link in selection.present}
    for link in network.links:
        if link.index in by or not link.up or is_left_out(link, configured):
            continue
        tables = network.tables(link.index)
        if link.index in chosen or (tables and (is_taken_unnamed(link) or link.kind in UPLINKS)):
            yield _unjudged(link, network, tables, chosen=link.index in chosen)
    attached = [one.name for one in interfaces if one.engine == "xdp"]
    for link in network.links:
        if link.name in attached and (error := unreadable(link)):
            yield f"{error.message}: what arrives there is not judged; next: {error.next_step}, then {_RELOAD}"
    if network.ipsec and attached:
        yield (
            f"IPsec is in use, and xdp, which judges {', '.join(attached)}, never sees what ESP holds; next: write "
            f"engine: auto  or  nftables  in agent.yaml, then {_RELOAD}"
        )


def _unjudged(link: Link, network: Network, tables: Sequence[int], *, chosen: bool) -> str:
    """Say why no engine judges an interface that is up, and what to do."""
    what = f"interface {link.name}" + (f", default route in table {', '.join(map(str, tables))}," if tables else "")
    master = next((one for one in network.links if one.index == link.master and one.kind != VRF), None)
    if master:
        return (
            f"{what} is a port of {master.name} ({master.kind}), where nftables meets its packets, and no engine "
            f"judges {master.name}; next: name {master.name} in `interfaces` of agent.yaml, or let xdp judge "
            f"{link.name}, then {_RELOAD}"
        )
    step = _RELOAD if chosen else f"name it in `interfaces` of agent.yaml, then {_RELOAD}"
    return f"{what} is up, but no engine judges its packets; next: {step}"
