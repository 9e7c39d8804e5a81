# SPDX-License-Identifier: Apache-2.0
"""Describe in one line where packets are judged now and were not before: a change of interfaces, not of the ruleset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.dataplane.coverage import coverage
from geodrop.errors import UnavailableError
from geodrop.linux.network import Network, read_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.engine.api import Interface, Observed


def moves(before: Observed, after: Observed) -> str:
    """Return e.g. `eth0 from nftables to xdp (native), eth1 now judged by nftables`; empty if nothing moved."""
    if before.interfaces == after.interfaces:
        return ""
    try:
        network = read_network()
    except UnavailableError:
        network = Network(())  # compare names only: the change is made, and nothing may fail any more
    return difference(judges(before, network), judges(after, network))


def judges(observed: Observed, network: Network) -> dict[str, str]:
    """Return who judges each existing link, by its name; and which engine waits for names that do not exist."""
    found: dict[str, str] = {}
    # In reverse order, so that the first interface counts: xdp judges a link even if a rule of nftables matches it too.
    links_of = coverage((), network, observed.interfaces, ()).links
    for interface, links in reversed([*zip(observed.interfaces, links_of, strict=True)]):
        # An observed program has an interface, though that may disappear at any moment.
        waits = "" if interface.engine == "xdp" else ", once it is there"
        found |= dict.fromkeys(links, _where(interface)) or {interface.name: f"{_where(interface)}{waits}"}
    return found


def difference(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the same line from two results of `judges`. Pure."""
    found = []
    for name in sorted(was.keys() | now.keys()):
        if name not in now:
            found.append(f"{name} no longer judged")
        elif name not in was:
            found.append(f"{name} now judged by {now[name]}")
        elif was[name] != now[name]:
            found.append(f"{name} from {was[name]} to {now[name]}")
    return ", ".join(found)


def _where(interface: Interface) -> str:
    return f"{interface.engine} ({interface.attach})" if interface.attach else interface.engine
