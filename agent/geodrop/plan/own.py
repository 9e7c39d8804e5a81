# SPDX-License-Identifier: Apache-2.0
"""What the host itself depends on, and whether a change newly drops packets from there.

These are its own addresses, its gateways, the networks that its routes name, its resolvers, and the operator's SSH
peer. A packet from such a source may be one to any service; which ports it has is not considered.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from geodrop.errors import DataError
from geodrop.inputs import read_regular
from geodrop.ruleset.question import intervals_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.linux.routes import Surroundings
    from geodrop.plan.judge import Address, Judge
    from geodrop.plan.operators import SshPeer

Network = IPv4Network | IPv6Network

RESOLVERS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
"""The file of resolv.conf(5), and the one with the servers that systemd-resolved asks in its turn."""
MAX_FILE = 1 << 20
MAX_ROUTES = 1_000
"""Most routes that are looked at."""


@dataclass(frozen=True, slots=True)
class OwnDropped:
    """Something of the host's own that a service newly drops: `what` is address, gateway, route, resolver or ssh."""

    what: str
    address: str
    service: str

    def as_json(self) -> dict[str, Any]:
        """Return an element of `own` of `plan --json`."""
        return {"what": self.what, "address": self.address, "service": self.service}


def sources(
    around: Surroundings, resolvers: Iterable[Address], operators: Iterable[SshPeer]
) -> list[tuple[str, Network]]:
    """Return what to look at, with what it is, each once."""
    found: list[tuple[str, Address | Network]] = [("address", one) for one in around.addresses]
    found += [("gateway", one) for one in around.gateways]
    found += [("resolver", one) for one in resolvers]
    found += [("ssh", one.peer) for one in operators]
    found += [("route", one) for one in around.destinations[:MAX_ROUTES]]
    return list(dict.fromkeys((what, ip_network(one)) for what, one in found))


def newly_dropped(
    old: Judge, new: Judge, looked_at: Iterable[tuple[str, Network]]
) -> tuple[list[OwnDropped], list[str]]:
    """Return what is newly dropped, by each service, and warnings about what could not be looked at."""
    found: dict[OwnDropped, None] = {}
    warnings = []
    for what, network in looked_at:
        try:
            addresses = list(_bounds(old, new, network))
        except DataError as failure:
            warnings.append(f"{what} {network} was not looked at: {failure.message}")
            continue
        name = str(network.network_address if network.prefixlen == network.max_prefixlen else network)
        for address in addresses:
            before = old.dropped(address)
            found |= dict.fromkeys(
                OwnDropped(what, name, service) for service in new.dropped(address) if service not in before
            )
    return list(found), warnings


def read_resolvers(files: Iterable[str] = RESOLVERS) -> tuple[list[Address], list[str]]:
    """Return the addresses of the host's resolvers, and warnings about files that cannot be read."""
    found: dict[Address, None] = {}
    warnings = []
    for name in files:
        try:
            text = read_regular(name, MAX_FILE).decode(errors="replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            warnings.append(f"the resolvers of {name} are not known: {error.strerror}")
            continue
        for line in text.splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                try:
                    found[ip_address(words[1].partition("%")[0])] = None
                except ValueError:
                    warnings.append(f"{name}: {words[1]!r} is no address")
    return list(found), warnings


def _bounds(old: Judge, new: Judge, network: Network) -> Iterator[Address]:
    """Yield an address of each part of a network that both rulesets judge as one. Raises DataError for too many."""
    kind = IPv4Address if network.version == 4 else IPv6Address
    first, last = int(network[0]), int(network[-1])
    starts = {first}
    for judge in (old, new):
        if judge.ruleset is not None:
            starts |= {start for _, start, _ in intervals_of(judge.ruleset, network.version, first, last)}
    return map(kind, sorted(starts))
