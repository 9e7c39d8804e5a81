"""Which engine judges which interface: a plan made of what is selected and of what was refused. Pure."""

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
"""Why a name or a pattern is with nftables too while xdp takes the interfaces that are there: one that comes in the
place of another has another number, and no program until somebody attaches it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """`xdp` are names of interfaces, `scope` is what nftables judges and lets pass; either may be empty."""

    xdp: tuple[str, ...]
    scope: Scope

    @property
    def only_guards(self) -> bool:
        """Whether nftables has nothing to judge but what may come."""
        return all(self.scope.why.get(name) == TO_COME for name in self.scope.names)


def place(
    engine: str, selection: Selection, refused: Mapping[str, str] | None = None, unavailable: str = ""
) -> Placement:
    """Give each selected interface to an engine: nftables, xdp, or under auto xdp with nftables for the rest.

    `refused` are interfaces that xdp was tried on and that take none, with the reason; `unavailable` is why xdp cannot
    be tried on any. A VLAN goes with the interface that carries it, if that is selected: XDP programs see frames with
    their tags. So does a port with the bond that it is in.
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
    """The selected interface that a link's frames are judged on: itself, what it is a VLAN of, or its bond."""
    for other in selected:
        if carries(other, link):
            return _carrier(other, selected)
    return link
