# SPDX-License-Identifier: Apache-2.0
"""Who is exempt: the objects of `exempt --json`, with what has passed because of each exemption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.dataplane.both import BothEngines
from geodrop.operations.exempt import named
from geodrop.operations.exempt_sources import sources
from geodrop.state.exemptions import ClockReading, standing
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address

    from geodrop.config import Config
    from geodrop.state.exemptions import Exemption

SCHEMA = 1


def read_exemptions(config: Config) -> list[dict[str, Any]]:
    """Return the objects of `exempt --json`, those that end first at the beginning.

    Raises PrivilegeError, UnavailableError.
    """
    return exemptions_of(BothEngines.here(), Store(config.state))


def exemptions_of(engines: BothEngines, store: Store) -> list[dict[str, Any]]:
    """Return the objects of what the state names, read with these engines."""
    at = ClockReading.now()
    known = standing(store.exemptions.read() or (), at)
    totals = engines.exempt_totals(sources(known, at)) if known else {}
    ordered = sorted(known, key=lambda one: (one.until(at), one.network.version, int(one.network[0])))
    return [as_object(one, at, totals.get(one.network)) for one in ordered]


def as_object(one: Exemption, at: ClockReading, total: tuple[int, int] | None) -> dict[str, Any]:
    """Return one exemption; without `total` it is not in force."""
    packets, octets = total or (0, 0)
    return {
        "schema": SCHEMA,
        "source": one.source,
        "created": utc.moment(one.created),
        "until": utc.moment(one.until(at)),
        "seconds": round(one.left(at) or 0.0, 3),
        "in_force": total is not None,
        "held_back": one.left(at) is None,
        "packets": packets,
        "bytes": octets,
        "user": one.user or None,
        "why": one.why or None,
    }


def exemption_of(
    exemptions: Iterable[Exemption], address: IPv4Address | IPv6Address, at: ClockReading
) -> Exemption | None:
    """Return the exemption that lets an address pass longest; None if it is not exempt."""
    holding = [one for one in exemptions if one.left(at) and address in one.network]
    return max(holding, key=lambda one: one.left(at) or 0.0, default=None)


def described(one: Exemption, at: ClockReading) -> dict[str, Any]:
    """Return what `explain` says about an exemption."""
    until = utc.soon(one.until(at), at.wall)
    return {"source": named(one.network), "until": until, "user": one.user or None, "why": one.why or None}
