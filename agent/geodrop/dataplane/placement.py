# SPDX-License-Identifier: Apache-2.0
"""Decide which engine judges which interface: a plan made from what is selected and what was refused. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.engine.api import Scope
from geodrop.engine.interfaces import carries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.engine.interfaces import Selection
    from geodrop.linux.network import Link

TO_COME = "for interfaces to come"
"""Why nftables has a rule for a name or pattern although xdp judges the interfaces that exist. An interface that
replaces another has another number, and no program until one is attached.
"""


@dataclass(frozen=True, slots=True)
class Placement:
    """`xdp` are names of interfaces; `scope` is what nftables judges and what it accepts. Either may be empty."""

    xdp: tuple[str, ...]
    scope: Scope

    @property
    def only_guards(self) -> bool:
        """Tell whether nftables has nothing to judge but future interfaces."""
        return all(self.scope.why.get(name) == TO_COME for name in self.scope.names)


def place(
    engine: str, selection: Selection, refused: Mapping[str, str] | None = None, unavailable: str = ""
) -> Placement:
    """Give each selected interface to an engine: nftables, xdp, or under auto xdp with nftables for the rest.

    `refused` are the interfaces where attaching XDP failed, with the reason; `unavailable` is why xdp cannot be used at
    all. A VLAN goes with the interface that carries it, if that is selected, since XDP programs see frames with their
    tags. In the same way a port goes with its bond.
    """
    if engine == "nftables":
        return Placement((), Scope(selection.names))
    if unavailable:
        return Placement((), Scope(selection.names, (), dict.fromkeys(selection.names, unavailable)))
    refused = refused or {}
    carrier = {link.index: _carrier(link, selection.present) for link in selection.present}
    taken = tuple(link.name for link in selection.present if carrier[link.index] == link and link.name not in refused)
    if engine == "xdp":
        return Placement(taken, Scope(()))
    why = {}
    for link in selection.present:
        if (top := carrier[link.index].name) in refused:
            why[link.name] = refused[top]
    elsewhere = tuple(link.index for link in selection.present if link.name not in why)
    why |= {name: TO_COME for name in selection.names if name not in why}
    return Placement(taken, Scope(tuple(why), elsewhere, why))


def _carrier(link: Link, selected: Sequence[Link]) -> Link:
    """Return the selected interface that judges a link's frames: itself, its VLAN's carrier, or its bond."""
    for other in selected:
        if carries(other, link):
            return _carrier(other, selected)
    return link
