"""Which links that are there now each entry of `Observed.interfaces` stands for: a name alone judges no packet."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from geodrop.dataplane.interfaces import EVERY, is_prefix, select

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from geodrop.dataplane.engine import Interface


def links_of(interfaces: Sequence[Interface], exempt: Collection[int]) -> list[tuple[str, ...]]:
    """The names of links that each interface judges, in the same order; none where it waits for one to come.

    `exempt` are the numbers of links that nftables leaves to xdp.
    """
    there = {number: name for number, name in socket.if_nameindex() if number not in exempt}
    return [_links(interface, there) for interface in interfaces]


def _links(interface: Interface, there: Mapping[int, str]) -> tuple[str, ...]:
    name = interface.name
    if interface.engine == "xdp":
        return (name,)  # observed by the link that holds the program there
    if name == EVERY:
        return tuple(link.name for link in select([EVERY]).present if link.index in there)
    if is_prefix(name):
        return tuple(link for link in there.values() if link.startswith(name[:-1]))
    return (name,) if name in there.values() else ()
