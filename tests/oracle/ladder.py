# SPDX-License-Identifier: Apache-2.0
"""Judge addresses: the ladder of docs/policy.md, rung by rung, by linear search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from tests.oracle import world
from tests.oracle.policy import DrawnLine, Policy, Service, read_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path
    from typing import Protocol

    class Database(Protocol):
        """What the oracle needs of a database; the pure-Python reader of maxminddb provides it."""

        def get(self, ip_address: IPv4Address | IPv6Address, /) -> Any:  # noqa: ANN401 - a record can be anything
            """Return the record of an address, or None."""


NO_COUNTRY = {"ZZ", "XX", "AP", "EU", "A1", "A2", "O1", ""}
"""Codes that databases use for an unknown country; any code that is not in ISO 3166-1 counts the same."""


@dataclass(frozen=True)
class Region:
    """Where an address is; None: not known. `inner` is a smaller subdivision inside `subdivision`."""

    country: str | None = None
    subdivision: str | None = None
    continent: str | None = None
    inner: str | None = None

    def __str__(self) -> str:
        if self.country is None:
            return f"continent:{self.continent}" if self.continent else "unknown"
        return self.subdivision or self.country


NOWHERE = Region()


@dataclass(frozen=True)
class Answer:
    """The ladder's answer for one address and service.

    `would_drop` is the answer of the ladder itself, `verdict` what happens at the oracle's time. `label` is the counter
    class of a packet that the ladder drops: the list or prefix on rung 3, else the region, whose subdivision shows only
    if some service names it.
    """

    rung: str
    verdict: str
    would_drop: bool
    region: str
    label: str


class Oracle:
    """A policy, databases in the order given, and a time."""

    def __init__(self, policy: str, databases: Sequence[Database], now: datetime, folder: Path | None = None) -> None:
        self.policy: Policy = read_policy(policy, folder)
        self.databases = databases
        self.now = now
        self.exempt: Sequence[IPv4Network | IPv6Network] = ()
        """The networks whose packets pass for a limited time, by the address on the wire."""

    def explain(self, address: str) -> dict[str, Answer]:
        """Return the answer for each service, by name, in the policy's order."""
        return {service.name: self.answer(address, service) for service in self.policy.services}

    def answer(self, address: str, service: Service) -> Answer:
        """Return the answer for one service."""
        wire = ip_address(address)
        inside = world.embedded(wire) if isinstance(wire, IPv6Address) else None
        region = self.region(wire)
        rung, says, label = self._climb(wire, inside, region, service)
        verdict = "drop" if says == "drop" and service.drops(self.now, address) else "accept"
        return Answer(rung, verdict, says == "drop", str(region), label)

    def region(self, wire: IPv4Address | IPv6Address) -> Region:
        """Return the region of an address, after corrections; an embedded IPv4 address decides for the IPv6 one."""
        inside = world.embedded(wire) if isinstance(wire, IPv6Address) else None
        address = wire if inside is None else inside
        if inside is not None and world.is_special(inside):
            return NOWHERE
        corrections = [
            (network.prefixlen, country) for network, country in self.policy.corrections if address in network
        ]
        if corrections:
            country = max(corrections)[1]
            return Region(country, None, world.CONTINENTS[country])
        if isinstance(address, IPv6Address) and address not in world.GLOBAL_UNICAST:
            return NOWHERE
        regions = [region_of(database.get(address)) for database in self.databases]
        with_country = [region for region in regions if region.country]
        with_continent = [region for region in regions if region.continent]
        return (with_country + with_continent + [NOWHERE])[0]

    def _climb(
        self, wire: IPv4Address | IPv6Address, inside: IPv4Address | None, region: Region, service: Service
    ) -> tuple[str, str, str]:
        """Return the deciding rung, its verdict, and the counter class."""
        if any(wire in network for network in self.policy.never_prefixes):
            return "never-drop", "accept", ""
        for address in filter(None, (wire, inside)):
            matches = [line for line in service.prefixes if address in line.network]
            if matches:
                # Deny on a tie: "drop" sorts after "accept".
                best = max(matches, key=lambda line: (line.network.prefixlen, line.verdict))
                return "prefix", best.verdict, best.label
        # Deny beats allow; of two lists with one verdict the first counts.
        drawn = [line for line in service.drawn if self._holds(line, wire if inside is None else inside)]
        if drawn:
            first = max(drawn, key=lambda line: line.verdict)
            return "list", first.verdict, first.label
        if inside is None and world.is_special(wire):
            return "special", "accept", ""
        return self._by_region(region, service)

    def _by_region(self, region: Region, service: Service) -> tuple[str, str, str]:
        """Return what the rungs below special addresses say."""
        for rung, names in (
            ("subdivision", {region.subdivision, region.inner}),
            ("country", {region.country}),
            ("continent", {f"continent:{region.continent}"}),
        ):
            if names & service.denied:
                return rung, "drop", self._label(region)
            if names & service.allowed:
                return rung, "accept", self._label(region)
        if region.country is None:
            return "unknown", service.unknown, self._label(region)
        return "default", service.default, self._label(region)

    def _holds(self, line: DrawnLine, address: IPv4Address | IPv6Address) -> bool:
        """Tell whether the databases put an address into a list: the first that says a thing of it is right."""
        if isinstance(address, IPv6Address) and address not in world.GLOBAL_UNICAST:
            return False
        records = [record for database in self.databases if (record := database.get(address))]
        numbers = [number for record in records if (number := number_of(record))]
        if numbers and numbers[0] in line.asns:
            return True
        for name, least in line.traits:
            said = [found for record in records if (found := traits_of(record).get(name)) is not None]
            if said and said[0] >= least:
                return True
        return False

    def reduced_region(self, address: str) -> str:
        """Return the region as far as the policy distinguishes regions: without a subdivision that no service names."""
        return self._label(self.region(ip_address(address)))

    def _label(self, region: Region) -> str:
        lines = {line for service in self.policy.services for line in service.allowed | service.denied}
        named = [code for code in (region.subdivision, region.inner) if code in lines]
        return str(replace(region, subdivision=named[0] if named else None))


MAXMIND_TRAITS = {
    "is_anonymous_vpn": "vpn",
    "is_public_proxy": "proxy",
    "is_tor_exit_node": "tor_exit",
    "is_hosting_provider": "hosting",
    "is_residential_proxy": "residential_proxy",
    "is_anycast": "anycast",
    "is_satellite_provider": "satellite",
}
IPINFO_TRAITS = {"vpn": "vpn", "proxy": "proxy", "tor": "tor_exit", "hosting": "hosting", "relay": "relay"}
IPINFO_PLUS = {f"is_{word}": trait for word, trait in IPINFO_TRAITS.items()}
TRAITS = {**MAXMIND_TRAITS, **IPINFO_TRAITS, **IPINFO_PLUS, "is_satellite": "satellite", "anycast": "anycast"}


def number_of(record: Mapping[str, Any]) -> int:
    """Return the number of a record's network, 0 for none: MaxMind's field, or IPinfo's, a text such as AS15169."""
    flat = {**record, **record.get("traits", {})}
    return int(flat.get("autonomous_system_number") or str(flat.get("asn") or "0").removeprefix("AS"))


def traits_of(record: Mapping[str, Any]) -> dict[str, int]:
    """Return the traits of a record with their confidence: that of MaxMind's for VPNs, else 0."""
    flat = {**record, **record.get("traits", {})}
    sure = int(flat.get("anonymizer_confidence", 0))
    if flat.keys() >= {"percent_days_seen"}:
        return {"residential_proxy": 0}
    if sure and not flat.keys() & {"is_anonymous", *TRAITS}:
        return {"residential_proxy": sure}
    found = {trait: 0 for field, trait in TRAITS.items() if flat.get(field) in (True, "true")}
    return found | ({"vpn": sure} if "vpn" in found else {})


def region_of(record: Mapping[str, Any] | None) -> Region:
    """Return the region in a database's record, in MaxMind's schema or with flat codes, as IPinfo has them."""
    if not record:
        return NOWHERE
    country = _country(record)
    if country in NO_COUNTRY or country not in world.CONTINENTS:
        continent = _code(record, "continent", "code")
        return Region(continent=continent) if continent in world.COUNTRIES else NOWHERE
    within = [item.get("iso_code") for item in record.get("subdivisions", [])] or [record.get("region_code")]
    codes = [f"{country}-{code}" for code in within if code]
    outer, inner, *_ = [*codes, None, None]
    return Region(country, outer, world.CONTINENTS[country], inner)


def _country(record: Mapping[str, Any]) -> str:
    """Return the country code as the record writes it; registered_country counts only if there is no country."""
    return _code(record, "country", "iso_code") or _code(record, "registered_country", "iso_code")


def _code(record: Mapping[str, Any], key: str, inner: str) -> str:
    """Return a code, nested as in MaxMind's schema ({key: {inner: XX}}) or flat (key_code, or key: XX); empty if
    absent.
    """
    nested = record.get(key)
    if isinstance(nested, dict):
        return str(nested.get(inner, ""))
    return str(record.get(f"{key}_code") or nested or "")
