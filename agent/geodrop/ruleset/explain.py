"""Why an address is accepted or dropped, from a ruleset alone: no database, no kernel, no numpy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from geodrop.errors import DataError
from geodrop.ruleset.model import Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from geodrop.ruleset.model import Ruleset, ServiceSpec

Address = IPv4Address | IPv6Address
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for one address and service.

    `would_drop` is what the ladder says, `verdict` what happens at the time asked for, in the service's effective
    `mode`. `zone` is the zone of the address as written; an `embedded` IPv4 address was judged in its place.
    """

    address: str
    service: str
    zone: int
    region: str | None
    rung: str
    line: str
    would_drop: bool
    verdict: str
    mode: str
    embedded: str | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Explanation:
        """From an object of `explain --json`."""
        return cls(**{item.name: found[item.name] for item in fields(cls)})

    def as_json(self) -> dict[str, Any]:
        """One object of `explain --json`."""
        return {
            "schema": SCHEMA,
            "address": self.address,
            "service": self.service,
            "verdict": self.verdict,
            "would_drop": self.would_drop,
            "rung": self.rung,
            "line": self.line,
            "zone": self.zone,
            "region": self.region,
            "mode": self.mode,
            "embedded": self.embedded,
        }

    def as_text(self) -> str:
        """One line for a person."""
        happens = self.verdict if self.would_drop == (self.verdict == "drop") else f"{self.verdict} (would drop)"
        where = f"{self.address} (holds {self.embedded})" if self.embedded else self.address
        region = f", region {self.region}" if self.region else ""
        return f"{where}  {self.service}: {happens}, by {self.rung}: {self.line}{region}, zone {self.zone}"


def parse_address(text: str) -> Address:
    """An address as given by a person; raises DataError."""
    try:
        return ip_address(text)
    except ValueError:
        raise DataError(f"{text!r} is not an IPv4 or IPv6 address", "give a single address, without prefix") from None


def effective_mode(service: ServiceSpec, now: float, *, paused: bool = False) -> str:
    """Monitor if paused, before `starts` (seconds since the epoch), or by `mode: monitor`."""
    waiting = service.starts is not None and now < service.starts
    return "monitor" if paused or waiting else service.mode


def explain(ruleset: Ruleset, address: Address, now: float, *, paused: bool = False) -> Iterator[Explanation]:
    """One explanation a service, in the policy's order. `now` in seconds since the epoch."""
    zone = ruleset.zone_at(address)
    for number, service in enumerate(ruleset.meta.services):
        judged, embedded = zone, None
        row = ruleset.row(zone, number)
        if row.verdict == "embedded":
            held = Embedding(ruleset.meta.zones[zone].embedding or "")
            embedded = IPv4Address(held.extract(int(address)))
            judged = ruleset.zone_at(embedded)
            row = ruleset.row(judged, number, embedded=True)
        mode = effective_mode(service, now, paused=paused)
        would_drop = row.verdict == "drop"
        yield Explanation(
            address=str(address),
            service=service.name,
            zone=zone,
            region=_region(ruleset, judged, embedded=embedded is not None),
            rung=row.rung,
            line=row.line,
            would_drop=would_drop,
            verdict="drop" if would_drop and mode == "enforce" else "accept",
            mode=mode,
            embedded=None if embedded is None else str(embedded),
        )


def _region(ruleset: Ruleset, zone: int, *, embedded: bool) -> str | None:
    described = ruleset.meta.zones[zone]
    # A special address inside an IPv6 one is nowhere: it counts as unknown.
    return "unknown" if embedded and described.special else described.region
