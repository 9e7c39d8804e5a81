"""Whether what arrives is judged, on every interface that the operator meant: rules and links against what is there.

A rule for a name that no interface has judges nothing, nor does one for a port of a bridge: nftables meets those
packets on the bridge. Pure, but for `read_coverage`.
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
"""Kinds that are judged only where they are named, and yet are where packets from the world first have an IP header:
those with a default route are told of. Tunnels and veths are not: what they carry came in by another interface."""

_RELOAD = "geodrop reload"


@dataclass(frozen=True, slots=True)
class Coverage:
    """`judged` are the interfaces that are there and whose packets are judged, `problems` what should be and is not.

    Without any that is judged nothing is enforced, whatever rules there are. `links` are those that each interface in
    force judges, in the same order: none where it waits for one to come.
    """

    judged: tuple[str, ...]
    problems: tuple[str, ...] = ()
    links: tuple[tuple[str, ...], ...] = ()


def read_coverage(configured: Sequence[str], engines: BothEngines, interfaces: Sequence[Interface]) -> Coverage:
    """Of what is in force, as `BothEngines.observe` gave it; raises UnavailableError."""
    network = read_network()
    found = coverage(configured, network, interfaces, engines.exempt())
    programs = {one.name for one in interfaces if one.engine == "xdp"}
    by_nftables = [name for name in found.judged if name not in programs]
    return replace(found, problems=(*found.problems, *_bypasses(engines.bypasses(), by_nftables)))


def coverage(
    configured: Sequence[str], network: Network, interfaces: Sequence[Interface], exempt: Collection[int]
) -> Coverage:
    """`exempt` are numbers of interfaces whose packets nftables lets pass, since xdp judges them."""
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
    """Numbers of the interfaces that are there and whose packets an engine judges."""
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
        """Names of the interfaces that one in force judges by itself."""
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
        """By a program on the interface, or on what carries its frames."""
        carrier = self._links.get(link.parent)
        return (link.name in self._attached and not unreadable(link)) or (carrier is not None and self._by_xdp(carrier))

    def _by_nftables(self, link: Link) -> bool:
        return self._reaches(link) and any(_matches(name, link) for name in self._rules)

    def _reaches(self, link: Link) -> bool:
        """Whether nftables meets packets under the name of an interface, and does not let them pass for xdp."""
        return link.index not in self._exempt and self._master(link) is None

    def _master(self, link: Link) -> Link | None:
        """What an interface hands its packets to before nftables sees them; a VRF shows them under the port's name."""
        master = self._links.get(link.master)
        return None if master is None or master.kind == VRF else master

    def _through_ports(self, link: Link) -> bool:
        """A bridge or bond whose packets from outside are judged at its ports; a bond has no guests behind a port."""
        ports = [port for port in self._links.values() if port.master == link.index and link.kind != VRF]
        at_ports = [port for port in ports if self._by_xdp(port)]
        outside = [port for port in ports if link.kind in AGGREGATES or is_taken_unnamed(port)]
        return bool(at_ports) and all(port in at_ports for port in outside)


def _matches(name: str, link: Link) -> bool:
    """As the kernel matches the name in a rule: it knows no alternative names."""
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
    """Why nobody judges an interface that is up, and what to do."""
    what = f"interface {link.name}" + (f", default route in table {', '.join(map(str, tables))}," if tables else "")
    master = next((one for one in network.links if one.index == link.master and one.kind != VRF), None)
    if master:
        return (
            f"{what} is a port of {master.name} ({master.kind}), where nftables meets its packets, and nobody judges "
            f"{master.name}; next: name {master.name} in `interfaces` of agent.yaml, or let xdp judge {link.name}, "
            f"then {_RELOAD}"
        )
    step = _RELOAD if chosen else f"name it in `interfaces` of agent.yaml, then {_RELOAD}"
    return f"{what} is up, and nobody judges what arrives there; next: {step}"
