# SPDX-License-Identifier: Apache-2.0
"""Recognise what a database describes, by the fields of its records: countries of addresses, or something else.

In several databases the country is not where an address is used, but where the owner of a network is registered, where
an abuse desk is, or the home of a mobile carrier. They look like a database of countries, and would drop the wrong
clients. The database type tells little: vendors change it, and a self-made database may have any type.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import DataError
from geodrop.geo.section import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.geo.section import DataSection

LOOKED_AT = 100
"""Most records whose fields are examined."""

MAX_NAMED = 8

PLACE = frozenset({"city", "continent", "continent_code", "continent_name", "country_name", "region", "subdivisions"})
"""Fields of records that tell where an address is used."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What databases with these fields describe. `country` says what their country means, if they can have one.

    A database matches if it has all fields of one of the sets in `marks`. If it has countries, fields in PLACE overrule
    the marks, unless `always` is set.
    """

    name: str
    marks: tuple[frozenset[str], ...]
    country: str = ""
    always: bool = False


def _subject(name: str, *marks: str, country: str = "", always: bool = False) -> Subject:
    return Subject(name, tuple(frozenset(mark.split()) for mark in marks), country, always)


SUBJECTS = (
    _subject("Wi-Fi networks and venues", "ssid", "bssid", country="where a venue is", always=True),
    _subject(
        "WHOIS records",
        *("maintainer", "whois_domain", "descr imported", "org_address"),
        country="where the owner of a network is registered",
        always=True,
    ),
    _subject("abuse contacts", "email phone", "email network", country="where an abuse desk is", always=True),
    _subject("mobile carriers", "mcc mnc", country="the home of a carrier"),
    _subject("companies", "name domain as_name", "name domain as_domain", country="where a company is registered"),
    _subject("scores and counts", "score", "ip_risk", "ipv4_24", "ipv6_32", "devices_daily", "average_income"),
    _subject(
        "networks by number (ASN)",
        *("asn name", "asn domain", "asn org", "asn descr", "asn route"),
        *("autonomous_system_number", "autonomous_system_organization", "asn"),
        country="where the owner of a network is registered",
    ),
    _subject(
        "anonymisers",
        *("is_anonymous", "is_anonymous_vpn", "is_vpn", "is_tor", "is_proxy", "anonymizer_confidence"),
        *("vpn", "proxy", "tor", "relay", "vpn_name", "percent_days_seen"),
    ),
    _subject("providers", "isp", "organization"),
    _subject("kinds of connections", "connection_type", "user_type"),
    _subject("domains", "domain", "domains"),
)
"""The first subject that matches is named."""


def objection(database_type: str, section: DataSection, offsets: Sequence[int], *, knows_countries: bool) -> str | None:
    """Return why a database does not tell where addresses are, a sentence without the file's name; None if it does."""
    fields = _fields(section, offsets)
    subject = next((one for one in SUBJECTS if any(mark <= fields for mark in one.marks)), None)
    if knows_countries:
        owners = (one for one in SUBJECTS if one.country and (one.always or not fields & PLACE))
        # IPinfo Lite and others have a network number (asn) beside the country: that alone is no objection.
        owner = next((one for one in owners if any(mark <= fields and mark != {"asn"} for mark in one.marks)), None)
        if owner is None:
            return None
        return f"{database_type!a} is a database of {owner.name}; its country is {owner.country}, not where clients are"
    if subject:
        return f"{database_type!a} is a database of {subject.name} and has no countries"
    if not offsets:
        return f"{database_type!a} is empty, no countries"
    if fields:
        named = ", ".join(sorted(map(ascii, fields))[:MAX_NAMED])
        return f"{database_type!a} holds {named}, no countries"
    return f"{database_type!a} holds values of type {type(section.readable(offsets[0])).__name__}, no countries"


def _fields(section: DataSection, offsets: Sequence[int]) -> frozenset[str]:
    """Return the set of all fields of the first records."""
    found: set[str] = set()
    for offset in offsets[:LOOKED_AT]:
        with suppress(DataError):
            found.update(field for field, _ in section.fields(offset, EVERYTHING) or ())
    return frozenset(found)
