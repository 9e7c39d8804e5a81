# SPDX-License-Identifier: Apache-2.0
"""Find the correction of the policy that gives an address its country, and those about a region."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Any

from geodrop.ruleset.region_question import region_named

if TYPE_CHECKING:
    from geodrop.ruleset.model import CompiledCorrection, Meta
    from geodrop.ruleset.region_question import RegionQuestion

MOST = 100
"""Most corrections that an answer about a region names."""


class Correcting:
    """The corrections of a ruleset: for each family by length, the longest first, and then by the bits of prefixes."""

    def __init__(self, corrections: tuple[CompiledCorrection, ...]) -> None:
        found: dict[int, dict[int, dict[int, CompiledCorrection]]] = {4: {}, 6: {}}
        for correction in corrections:
            network = ip_network(correction.prefix)
            rest = network.max_prefixlen - network.prefixlen
            found[network.version].setdefault(rest, {})[int(network.network_address) >> rest] = correction
        self._by_rest = {family: sorted(by_rest.items()) for family, by_rest in found.items()}

    def at(self, address: IPv4Address | IPv6Address) -> CompiledCorrection | None:
        """Return the longest correction that holds an address."""
        for rest, corrections in self._by_rest[address.version]:
            if correction := corrections.get(int(address) >> rest):
                return correction
        return None


_latest: list[tuple[tuple[CompiledCorrection, ...], Correcting]] = []
"""What `correction_at` used last, with the corrections it is of: one ruleset is asked about many addresses."""


def correction_at(meta: Meta, address: IPv4Address | IPv6Address) -> CompiledCorrection | None:
    """Return the correction that gives an address its country; None if the databases do."""
    if not meta.corrections:
        return None
    found = _latest[0] if _latest else None
    # By identity, as in ruleset.covering.
    if found is None or found[0] is not meta.corrections:
        found = meta.corrections, Correcting(meta.corrections)
        _latest[:] = [found]
    return found[1].at(address)


def corrections_about(meta: Meta, asked: RegionQuestion) -> list[CompiledCorrection]:
    """Return the corrections that move addresses into what was asked about, or out of it, at most MOST."""
    found = []
    for correction in meta.corrections:
        now = asked.holds(region_named(correction.country))
        before = {asked.holds(region_named(name)) for name in correction.was}
        if (not now) in before:
            found.append(correction)
    return found[:MOST]


def correction_json(meta: Meta, correction: CompiledCorrection) -> dict[str, Any]:
    """Return a correction as `explain --json` shows it."""
    return {
        "prefix": correction.prefix,
        "country": correction.country,
        "was": list(correction.was),
        "place": f"{meta.policy_name}:{correction.at}" if correction.at else None,
    }
