# SPDX-License-Identifier: Apache-2.0
"""Totals of the sources that a change of verdicts is about: requests and clients, by region, network and hour.

Requests are exact. Clients are exact as long as their tables have room; beyond that each number is the least.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Network
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geodrop.simulate.distinct import Distinct, counted

if TYPE_CHECKING:
    import numpy.typing as npt

    from geodrop.simulate.lines import Hours
    from geodrop.simulate.verdicts import Verdicts

    Ints = npt.NDArray[np.int64]

MOST_IPV4 = 1_000_000
MOST_IPV6 = 50_000
"""Distinct addresses that are told apart, by family."""
MOST_VISITS = 500_000
"""Distinct pairs of an IPv4 address and an hour that are told apart; of IPv6 there are MOST_IPV6."""
MOST_NETWORKS = 100_000
"""IPv6 networks that are told apart; those of IPv4 are few."""

NETWORK_BITS = {4: 16, 6: 32}
"""Length of the prefixes by which networks are counted."""


class Ipv4Requests(NamedTuple):
    """Requests from IPv4 addresses: for each address and hour, the number of requests."""

    addresses: npt.NDArray[np.uint32]
    hours: Ints
    counts: Ints

    def of(self, chosen: npt.NDArray[np.bool_]) -> Ipv4Requests:
        """Return the chosen ones."""
        return Ipv4Requests(self.addresses[chosen], self.hours[chosen], self.counts[chosen])


class Effect:
    """What a change of verdicts is about; labels are those of `verdicts`."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self.requests = 0
        self._by_label = Counter[int]()
        self._by_hour = Counter[int]()
        self._by_ipv4_network = np.zeros(1 << NETWORK_BITS[4], np.int64)
        self._by_ipv6_network = Counter[int]()
        self._ipv4 = Distinct(np.uint32, MOST_IPV4)
        self._visits = Distinct(np.uint64, MOST_VISITS)
        self._ipv6: dict[bytes, int] = {}
        self._ipv6_visits: set[tuple[bytes, int]] = set()

    def add_ipv4(self, found: Ipv4Requests, labels: Ints) -> None:
        """Add requests of sources with these labels, all of them 0 or more."""
        if not len(found.addresses):
            return
        self.requests += int(found.counts.sum())
        self._by_label.update(_sums(labels, found.counts))
        self._by_hour.update(_sums(found.hours, found.counts))
        networks = (found.addresses >> np.uint32(16)).astype(np.int64)
        np.add.at(self._by_ipv4_network, networks, found.counts)
        self._ipv4.add(found.addresses)
        self._visits.add(visits(found.addresses, found.hours))

    def add_ipv6(self, source: bytes, hour: int, count: int, label: int) -> None:
        """Add requests of one source."""
        self.requests += count
        self._by_label[label] += count
        self._by_hour[hour] += count
        network = int.from_bytes(source[: NETWORK_BITS[6] // 8], "big")
        if network in self._by_ipv6_network or len(self._by_ipv6_network) < MOST_NETWORKS:
            self._by_ipv6_network[network] += count
        if source in self._ipv6 or len(self._ipv6) < MOST_IPV6:
            self._ipv6[source] = label
        if len(self._ipv6_visits) < MOST_IPV6:
            self._ipv6_visits.add((source, hour))

    def as_json(self, hours: Hours, requests: int) -> dict[str, Any]:
        """Return the totals as an object; `requests` is the number of all requests, for the share."""
        ipv4 = self._ipv4.values()
        clients = len(ipv4) + len(self._ipv6)
        labels = _numbers(self._verdicts.of_ipv4(ipv4)) + Counter(self._ipv6.values())
        by_hour = _numbers((self._visits.values() >> np.uint64(32)).astype(np.int64)) + Counter(
            hour for _, hour in self._ipv6_visits
        )
        names = self._verdicts.labels
        named = [
            {"region": names[label], "clients": labels[label], "requests": count}
            for label, count in self._by_label.items()
        ]
        times = [
            {"hour": hours[hour] or None, "clients": by_hour[hour], "requests": count}
            for hour, count in self._by_hour.items()
        ]
        return {
            "dropped": {
                "requests": self.requests,
                "clients": clients,
                "share": round(self.requests / requests, 6) if requests else 0.0,
            },
            "regions": sorted(named, key=_largest_first),
            "networks": sorted(self._networks(ipv4), key=_largest_first),
            "hours": sorted(times, key=lambda one: one["hour"] or ""),
        }

    @property
    def exact(self) -> bool:
        """Whether the numbers of clients are exact, and all networks are there."""
        tables = ((self._ipv6, MOST_IPV6), (self._ipv6_visits, MOST_IPV6), (self._by_ipv6_network, MOST_NETWORKS))
        return not (self._ipv4.full or self._visits.full or any(len(table) >= most for table, most in tables))

    def _networks(self, ipv4: npt.NDArray[np.uint32]) -> list[dict[str, Any]]:
        clients = _numbers((ipv4 >> np.uint32(16)).astype(np.int64))
        numbers = np.flatnonzero(self._by_ipv4_network)
        found = [
            # Thousands of networks: IPv4Network would take longer than all else here.
            {"network": f"{number >> 8}.{number & 255}.0.0/16", "clients": clients[number], "requests": count}
            for number, count in zip(numbers.tolist(), self._by_ipv4_network[numbers].tolist(), strict=True)
        ]
        clients6 = Counter(int.from_bytes(source[: NETWORK_BITS[6] // 8], "big") for source in self._ipv6)
        return found + [
            {
                "network": str(IPv6Network((number << 96, NETWORK_BITS[6]))),
                "clients": clients6[number],
                "requests": count,
            }
            for number, count in self._by_ipv6_network.items()
        ]


def visits(addresses: npt.NDArray[np.uint32], hours: Ints) -> npt.NDArray[np.uint64]:
    """Return one number for each address and hour: the hour in front of the address's 32 bits."""
    return hours.astype(np.uint64) << np.uint64(32) | addresses


def _sums(keys: Ints, counts: Ints) -> dict[int, int]:
    found = np.bincount(keys, counts)
    return {number: int(found[number]) for number in np.flatnonzero(found).tolist()}


def _numbers(keys: Ints) -> Counter[int]:
    """Return how often each key that is 0 or more comes."""
    numbers, counts = counted(keys[keys >= 0])
    return Counter(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))


def _largest_first(one: dict[str, Any]) -> tuple[int, int, str]:
    return -one["clients"], -one["requests"], one.get("region") or one["network"]
