# SPDX-License-Identifier: Apache-2.0
"""Choose addresses of several countries by asking `geodrop explain`: this module holds no geographic data."""

from __future__ import annotations

import random
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Protocol

from geodrop.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COUNTRIES = ("BR", "CH", "DE", "IN", "JP", "UA", "US", "CN", "HK", "IR", "RU", "VE")
"""The countries of the clients, in the order of the demo's tables."""

CANDIDATES = 12_000
"""Random addresses to ask about per family: enough to find each of the countries."""

SEED = 2024
"""A fixed seed: the same database gives the same clients, so that two runs can be compared."""

UNICAST_IPV4 = (1 << 24, 224 << 24)
FIRST_HEXTETS = (*range(0x2400, 0x2410), *range(0x2600, 0x2610), *range(0x2800, 0x2807), *range(0x2A00, 0x2A15))
"""The most used parts of the space that the regional registries allocate (IANA's IPv6 unicast address assignments)."""

SIX_TO_FOUR = 0x2002
"""The first hextet of 2002::/16; the IPv4 address follows in the next 32 bits (RFC 3056)."""


class Explainer(Protocol):
    """Runs `geodrop explain --json` with these options on these addresses."""

    def explain(self, addresses: Sequence[str], *options: str) -> list[dict[str, Any]]:
        """Return one object for each address, in order."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client: its label in tables, such as "CN", and its source address by family (4, 6)."""

    label: str
    sources: dict[int, str]


def choose_clients(explainer: Explainer, *options: str) -> list[Client]:
    """Return a client for each of COUNTRIES, and one of a denied country that hides its IPv4 address in 6to4.

    `options` name the policy and database for `explain`. Raises DataError if a country has no address in the database.
    """
    rng = random.Random(SEED)  # noqa: S311 - a sample, not a secret
    ipv4 = [str(IPv4Address(rng.randrange(*UNICAST_IPV4))) for _ in range(CANDIDATES)]
    ipv6 = [str(IPv6Address(rng.choice(FIRST_HEXTETS) << 112 | rng.getrandbits(16) << 96 | 1)) for _ in ipv4]
    answers = explainer.explain([*ipv4, *ipv6], *options)
    found = {4: _first_of_each(answers[:CANDIDATES]), 6: _first_of_each(answers[CANDIDATES:])}
    missing = [country for country in COUNTRIES if not all(country in family for family in found.values())]
    if missing:
        raise DataError(f"the bundled database shows no addresses of {', '.join(missing)}", "install geodrop again")
    clients = [Client(country, {family: found[family][country] for family in (4, 6)}) for country in COUNTRIES]
    denied = next(answer for answer in answers[:CANDIDATES] if answer["verdict"] == "drop")
    inner = int(IPv4Address(denied["address"]))
    hidden = IPv6Address(SIX_TO_FOUR << 112 | inner << 80 | 1)
    return [*clients, Client(f"{denied['region']} 6to4", {6: str(hidden)})]


def _first_of_each(answers: Iterable[dict[str, str]]) -> dict[str, str]:
    """Return the first address of each region."""
    first: dict[str, str] = {}
    for answer in answers:
        first.setdefault(answer["region"], answer["address"])
    return first
