# SPDX-License-Identifier: Apache-2.0
"""The verdict of one ruleset for single addresses and TCP packets, looked up once each."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from geodrop.ruleset.model import Embedding
from geodrop.ruleset.takers import TCP, covered, takers

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from geodrop.ruleset.model import Row, Ruleset, ServiceSpec

Address = IPv4Address | IPv6Address


class JudgedRow(NamedTuple):
    """The row that decides about an address for a service, and its region: what the databases say, or else the list
    or prefix that decides. If a list drawn from databases decides, it is that list.
    """

    row: Row
    region: str


class Judge:
    """Answers for one ruleset, or for none (nothing is in force), which drops nothing.

    `dropping` are the names of the services that count as dropping. Not thread-safe.
    """

    def __init__(self, ruleset: Ruleset | None, dropping: Collection[str]) -> None:
        self.ruleset = ruleset
        self._services: Sequence[ServiceSpec] = ruleset.meta.services if ruleset else ()
        self._numbers = {service.name: number for number, service in enumerate(self._services)}
        self._dropping = frozenset(dropping)
        self._of_zone: dict[int, tuple[JudgedRow, ...]] = {}
        self._of_address: dict[Address, tuple[JudgedRow, ...]] = {}
        self._takers: dict[tuple[Address, int], list[ServiceSpec]] = {}

    def takers(self, local: Address, port: int) -> list[ServiceSpec]:
        """Return the services that take a TCP packet to a local address and port; none for a never-drop port."""
        if self.ruleset is None or covered(self.ruleset.meta.never_drop_tcp, port):
            return []
        key = (local, port)
        if key not in self._takers:
            self._takers[key] = takers(self.ruleset.meta, TCP, port, local)
        return self._takers[key]

    def packet(self, source: Address, local: Address, port: int, *, established: bool) -> tuple[str, JudgedRow] | None:
        """Return the service that drops a TCP packet and the row by which it does; None if the packet passes.

        `established`: the packet belongs to an open connection; services with `established: keep` let that pass.
        """
        for service in self.takers(local, port):
            if service.name in self._dropping and not (established and service.established == "keep"):
                judged = self.rows(source)[self._numbers[service.name]]
                if judged.row.verdict == "drop":
                    return service.name, judged
        return None

    def dropped(self, source: Address) -> list[str]:
        """Return the services that drop packets from a source, whatever they are."""
        return [
            service.name
            for service, judged in zip(self._services, self.rows(source), strict=True)
            if service.name in self._dropping and judged.row.verdict == "drop"
        ]

    def rows(self, address: Address) -> tuple[JudgedRow, ...]:
        """Return for each service what decides about an address as it is in a packet."""
        if (found := self._of_address.get(address)) is None:
            found = self._of_address[address] = self._looked_up(address)
        return found

    def _looked_up(self, address: Address) -> tuple[JudgedRow, ...]:
        ruleset, numbers = self.ruleset, range(len(self._services))
        if ruleset is None:
            return ()
        zone = ruleset.zone_at(address)
        embedding = ruleset.meta.zones[zone].embedding
        if embedding is None:
            if zone not in self._of_zone:
                self._of_zone[zone] = tuple(_judged(ruleset, zone, number) for number in numbers)
            return self._of_zone[zone]
        inside = ruleset.zone_at(IPv4Address(Embedding(embedding).extract(int(address))))
        return tuple(
            _judged(ruleset, inside, number, embedded=True)
            if ruleset.row(zone, number).verdict == "embedded"
            else _judged(ruleset, zone, number)
            for number in numbers
        )


def _judged(ruleset: Ruleset, zone: int, service: int, *, embedded: bool = False) -> JudgedRow:
    row, described = ruleset.row(zone, service, embedded=embedded), ruleset.meta.zones[zone]
    # A special address inside an IPv6 one counts as unknown.
    region = "unknown" if embedded and described.special else described.region
    label = ruleset.meta.label(row.klass)
    return JudgedRow(row, (label if row.by_drawn_list else region) or label or row.line)
