"""Regions: ISO 3166-1 countries with their continents, and what counts as unknown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class Region:
    """Where an address is, as far as the databases say; the empty string is "not known".

    `country` is ISO 3166-1 alpha-2 or XK, `subdivision` ISO 3166-2 with its country (UA-43), `continent` one of
    AF AN AS EU NA OC SA. With a country, `continent` comes from our table, not from the database.
    """

    country: str = ""
    subdivision: str = ""
    continent: str = ""

    def __str__(self) -> str:
        if self.subdivision or self.country:
            return self.subdivision or self.country
        return f"continent:{self.continent}" if self.continent else "unknown"


UNKNOWN = Region()
