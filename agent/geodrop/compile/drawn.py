# SPDX-License-Identifier: Apache-2.0
"""Draw the lists of a policy from databases: which addresses are in which lists, and why.

A *mark* is a class of addresses that the lists cannot tell apart. Zones need only the lists of a mark. The reasons are
kept beside them for `explain`: a list may name thousands of networks, each of which would be a zone of its own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geodrop.document.problems import Position, Problem
from geodrop.errors import PolicyError
from geodrop.geo.attributes import FAMILIES
from geodrop.geo.partition import product
from geodrop.ruleset.model import Reason
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geodrop.geo.attributes import Attributes, SaidNetwork, SaidTrait
    from geodrop.geo.partition import Partition
    from geodrop.policy.model import AddressList, Policy

MAX_MARKS = 1 << 16
NO_REASONS: tuple[Reason, ...] = ()
NAMED = 8
"""Most networks that a warning names."""


class Drawn(NamedTuple):
    """Both families as partitions into marks. `reasons` are those of each mark; the first mark has none."""

    reasons: tuple[tuple[Reason, ...], ...]
    families: Mapping[int, Partition]

    def lists(self, mark: int) -> frozenset[str]:
        """Return the names of the lists that hold the addresses of a mark."""
        return frozenset(reason.list for reason in self.reasons[mark])

    def sections(self) -> dict[str, bytes]:
        """Return the sections of a ruleset (see ruleset.model); none if no list is drawn from databases."""
        if not self.reasons:
            return {}
        found = {}
        for family, partition in self.families.items():
            starts = partition.starts.astype("<u4") if family == 4 else partition.starts
            found[f"drawn/ipv{family}/starts"] = starts.tobytes()
            found[f"drawn/ipv{family}/marks"] = partition.values.astype("<u2").tobytes()
        return found


def draw(policy: Policy, attributes: Attributes, names: Iterable[str]) -> Drawn:
    """Draw the lists with these names. Raises PolicyError if they tell too many networks apart."""
    lists = [policy.lists[name] for name in sorted(names)]
    networks = attributes.networks.mapped(_Networks(lists, attributes).reasons, NO_REASONS)
    traits = attributes.traits.mapped(_Traits(lists, attributes).reasons, NO_REASONS)
    if not lists:
        return Drawn((), {family: networks.partition(family) for family in FAMILIES})
    numbers = {NO_REASONS: 0}
    families = {}
    for family in FAMILIES:
        joined, pairs = product(networks.partition(family), traits.partition(family))
        table = [
            numbers.setdefault((*networks.values[one], *traits.values[other]), len(numbers)) for one, other in pairs
        ]
        families[family] = joined.mapped(np.array(table, dtype=np.int32))
    if len(numbers) > MAX_MARKS:
        message = (
            f"lists drawn from databases tell {len(numbers):,} kinds of addresses apart, {MAX_MARKS:,} is the most; "
            "name fewer networks"
        )
        raise PolicyError([Problem(Position(policy.file, 1, 1), message)])
    return Drawn(tuple(numbers), families)


class _Networks:
    """Which lists name a network."""

    def __init__(self, lists: Sequence[AddressList], attributes: Attributes) -> None:
        self._databases = attributes.databases
        self._lists: defaultdict[int, list[str]] = defaultdict(list)
        for entry in lists:
            for asn in entry.asns:
                self._lists[asn].append(entry.name)

    def reasons(self, network: SaidNetwork) -> tuple[Reason, ...]:
        """Return why addresses of a network are in lists."""
        names = self._lists.get(network.asn, ())
        return tuple(Reason(name, f"AS{network.asn}", harmless(self._databases[network.database])) for name in names)


class _Traits:
    """Which lists ask for a trait."""

    def __init__(self, lists: Sequence[AddressList], attributes: Attributes) -> None:
        self._databases = attributes.databases
        self._lists = lists

    def reasons(self, traits: tuple[SaidTrait, ...]) -> tuple[Reason, ...]:
        """Return why addresses with these traits are in lists."""
        return tuple(
            Reason(entry.name, str(wanted), harmless(self._databases[database]))
            for entry in self._lists
            for wanted in entry.traits
            for found, database in traits
            if found.name == wanted.name and (found.confidence or 0) >= wanted.confidence
        )


def lacking(policy: Policy, attributes: Attributes) -> list[Problem]:
    """Return an error for each list that no loaded database can fill."""
    return sorted(
        Problem(place, f'list "{name}": {message}', source=policy.source(place))
        for name, entry in policy.lists.items()
        for place, message in _lacks(entry, attributes)
    )


def _lacks(entry: AddressList, attributes: Attributes) -> Iterable[tuple[Position, str]]:
    if entry.asns and len(attributes.networks.values) == 1:
        yield entry.place, "no loaded database has numbers of networks (ASN); add one that does, or remove the list"
    for wanted in entry.traits:
        if not any(wanted.name in own for own in attributes.carried):
            yield wanted.place, f"no loaded database says of any address that it is {wanted.name}; add one that does"
        elif wanted.confidence and not any(wanted.name in own for own in attributes.rated):
            names = _databases(attributes, wanted.name, attributes.carried)
            yield wanted.place, f"{names} has no confidence for {wanted.name}; write {wanted.name} alone"


def doubtful(policy: Policy, attributes: Attributes) -> list[Problem]:
    """Return a warning for networks that no database has, and for databases without a confidence that a list asks for.

    A network without addresses is most often a typing error, or has been given back.
    """
    known = {network.asn for network in attributes.networks.values}
    found = []
    for name, entry in policy.lists.items():
        # Without any number there is an error already.
        if len(known) > 1 and (unknown := [asn for asn in entry.asns if asn not in known]):
            more = f" and {len(unknown) - NAMED:,} more" if len(unknown) > NAMED else ""
            some = ", ".join(f"AS{asn}" for asn in unknown[:NAMED]) + more
            message = f'list "{name}": no loaded database has an address of {some}; check the numbers'
            found.append(Problem(entry.place, message, "warning", policy.source(entry.place)))
        for wanted in entry.traits:
            unrated = tuple(all_ - rated for all_, rated in zip(attributes.carried, attributes.rated, strict=True))
            if wanted.confidence and any(wanted.name in own for own in unrated):
                names = _databases(attributes, wanted.name, unrated)
                message = f'list "{name}": {names} has no confidence for {wanted.name}, so what it says does not count'
                found.append(Problem(wanted.place, message, "warning", policy.source(wanted.place)))
    return sorted(found)


def _databases(attributes: Attributes, trait: str, holding: Sequence[frozenset[str]]) -> str:
    names = [name for name, own in zip(attributes.databases, holding, strict=True) if trait in own]
    return ", ".join(map(harmless, names))
