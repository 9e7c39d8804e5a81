# SPDX-License-Identifier: Apache-2.0
"""Clients are chosen by the answers of `explain` alone."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.demo import sources
from geodrop.demo.sources import COUNTRIES, choose_clients
from geodrop.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Made:
    """Answers like `explain` in a made-up world, where the last bits of an address decide its country."""

    def __init__(self, countries: Sequence[str]) -> None:
        self.countries = countries
        self.options: tuple[str, ...] = ()

    def explain(self, addresses: Sequence[str], *options: str) -> list[dict[str, Any]]:
        """Every other country is denied."""
        self.options = options
        numbers = [int(ip_address(text)) >> (0 if "." in text else 96) for text in addresses]
        regions = [self.countries[number % len(self.countries)] for number in numbers]
        return [
            {"address": text, "region": region, "verdict": "drop" if self.countries.index(region) % 2 else "accept"}
            for text, region in zip(addresses, regions, strict=True)
        ]

    def region(self, text: str) -> str:
        """Return the answer for one address."""
        return str(self.explain([text])[0]["region"])


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand candidates are enough here."""
    monkeypatch.setattr(sources, "CANDIDATES", 1000)


def test_each_country_has_a_client_in_both_families() -> None:
    """The labels are the countries, and `explain` places every source in its country."""
    made = Made(COUNTRIES)
    clients = choose_clients(made, "--policy", "p.yaml")
    assert made.options == ("--policy", "p.yaml")
    assert [client.label for client in clients[:-1]] == list(COUNTRIES)
    for client in clients[:-1]:
        assert {made.region(source) for source in client.sources.values()} == {client.label}
        assert {family: ip_address(source).version for family, source in client.sources.items()} == {4: 4, 6: 6}


def test_the_last_client_hides_a_denied_address_in_6to4() -> None:
    """The 6to4 address holds an IPv4 address of a denied country, and the label names that country."""
    made = Made(COUNTRIES)
    hidden = choose_clients(made)[-1]
    assert list(hidden.sources) == [6]
    inner = IPv6Address(hidden.sources[6]).sixtofour
    assert isinstance(inner, IPv4Address)
    answer = made.explain([str(inner)])[0]
    assert answer["verdict"] == "drop"
    assert hidden.label == f"{answer['region']} 6to4"


def test_a_database_without_one_of_the_countries_is_refused() -> None:
    """A missing country is named, not left out of the tables."""
    with pytest.raises(DataError, match="no addresses of VE"):
        choose_clients(Made(COUNTRIES[:-1]))


def test_the_same_database_gives_the_same_clients() -> None:
    """Two runs show the same addresses."""
    assert choose_clients(Made(COUNTRIES)) == choose_clients(Made(COUNTRIES))
