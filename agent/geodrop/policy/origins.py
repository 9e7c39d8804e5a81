"""Where in the file things stand that the model does not say: for messages about what is written there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.document.problems import Position
    from geodrop.policy.model import Service


@dataclass(frozen=True, slots=True)
class Written:
    """A service as it stands in the file: the places of its values, and whether its `match` could be read."""

    values: Mapping[str, Position]
    match_readable: bool


@dataclass(slots=True)
class Origins:
    """Of a whole policy, by name; `never_drop` is None where it is not written."""

    groups: dict[str, Position] = field(default_factory=dict)
    services: dict[str, Written] = field(default_factory=dict)
    never_drop: Position | None = None

    def of(self, service: Service, key: str) -> Position:
        """Where a key of a service has its value; where the service begins if the key is not written."""
        return self.services[service.name].values.get(key, service.place)
