# SPDX-License-Identifier: Apache-2.0
"""The places in the file that the model does not record, for messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.document.problems import Position
    from geodrop.policy.model import Service


@dataclass(frozen=True, slots=True)
class Written:
    """A service in the file: the places of its values, and whether its `match` could be read."""

    values: Mapping[str, Position]
    match_readable: bool


@dataclass(slots=True)
class Origins:
    """The places of a whole policy, by name; `never_drop` is None if the key is missing."""

    groups: dict[str, Position] = field(default_factory=dict)
    services: dict[str, Written] = field(default_factory=dict)
    never_drop: Position | None = None

    def of(self, service: Service, key: str) -> Position:
        """Return the place of the value of a service's key; if the key is missing, the place of the service."""
        return self.services[service.name].values.get(key, service.place)
