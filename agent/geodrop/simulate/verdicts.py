# SPDX-License-Identifier: Apache-2.0
"""What a ruleset's ladder says of sources, thousands at once: which are dropped, and their region or list."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import numpy as np

from geodrop.ruleset.model import Embedding

if TYPE_CHECKING:
    import numpy.typing as npt

    from geodrop.ruleset.model import Row, Ruleset

    Bools = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]


class Verdicts:
    """The verdicts of a ruleset's ladder, whatever `mode` and `starts` say.

    A source counts as dropped if one of the `services` drops it. What is dropped has a label: its region, or the line
    of the policy where the ruleset does not tell regions apart.
    """

    def __init__(self, ruleset: Ruleset, services: frozenset[str]) -> None:
        self._ruleset = ruleset
        self._numbers = [number for number, service in enumerate(ruleset.meta.services) if service.name in services]
        self._starts = np.frombuffer(ruleset.sections["ipv4/starts"], np.uint32)
        self._zones = np.frombuffer(ruleset.sections["ipv4/zones"], np.uint16)
        self._label_numbers: dict[str, int] = {}
        # By zone: the number of the label if it is dropped, else -1; on the wire, and embedded in IPv6.
        self._dropped, self._dropped_inside = (
            np.array([self._of_zone(zone, embedded=embedded) for zone in range(len(ruleset.meta.zones))], np.int64)
            for embedded in (False, True)
        )

    @property
    def labels(self) -> list[str]:
        """The names of what is dropped, by number."""
        return list(self._label_numbers)

    def of_ipv4(self, addresses: npt.NDArray[np.uint32]) -> Ints:
        """Return for each address the number of its label if it is dropped, else -1."""
        zones = self._zones[np.searchsorted(self._starts, addresses, "right") - 1]
        found: Ints = self._dropped[zones]
        return found

    def of_ipv6(self, packed: bytes) -> int:
        """Return the number of the label of an address if it is dropped, else -1."""
        zone = self._ruleset.zone_at(IPv6Address(packed))
        if (embedding := self._ruleset.meta.zones[zone].embedding) is None:
            return int(self._dropped[zone])
        held = IPv4Address(Embedding(embedding).extract(int.from_bytes(packed, "big")))
        inside = self._ruleset.zone_at(held)
        for number in self._numbers:
            row = self._ruleset.row(zone, number)
            if row.verdict == "embedded":
                if (label := self._of_row(inside, self._ruleset.row(inside, number, embedded=True))) >= 0:
                    return label
            elif (label := self._of_row(zone, row)) >= 0:
                return label
        return -1

    def _of_zone(self, zone: int, *, embedded: bool) -> int:
        rows = (self._ruleset.row(zone, number, embedded=embedded) for number in self._numbers)
        return next((label for row in rows if (label := self._of_row(zone, row)) >= 0), -1)

    def _of_row(self, zone: int, row: Row) -> int:
        if row.verdict != "drop":
            return -1
        meta = self._ruleset.meta
        by_list = meta.label(row.klass) if row.by_drawn_list else None
        label = by_list or meta.zones[zone].region or row.line
        return self._label_numbers.setdefault(label, len(self._label_numbers))
