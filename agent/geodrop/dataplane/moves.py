"""Where packets are judged now and were not before, in one line for people: a change that is none of the ruleset's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.dataplane.coverage import coverage
from geodrop.errors import UnavailableError
from geodrop.linux.network import Network, read_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.engine.api import Interface, Observed


def moves(before: Observed, after: Observed) -> str:
    """`eth0 from nftables to xdp (native), eth1 now judged by nftables`; empty if every link is where it was."""
    if before.interfaces == after.interfaces:
        return ""
    try:
        network = read_network()
    except UnavailableError:
        network = Network(())  # by names alone: the change is made, and nothing may fail any more
    return difference(judges(before, network), judges(after, network))


def judges(observed: Observed, network: Network) -> dict[str, str]:
    """Who judges each link that is there, by its name; and who waits for what is not."""
    found: dict[str, str] = {}
    # Last the first: what xdp judges is judged by it, whatever rule of nftables would match there too.
    links_of = coverage((), network, observed.interfaces, ()).links
    for interface, links in reversed([*zip(observed.interfaces, links_of, strict=True)]):
        # A program that is observed has its interface, though it may go in the next moment.
        waits = "" if interface.engine == "xdp" else ", once it is there"
        found |= dict.fromkeys(links, _where(interface)) or {interface.name: f"{_where(interface)}{waits}"}
    return found


def difference(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The same of what `judges` gave. Pure."""
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
