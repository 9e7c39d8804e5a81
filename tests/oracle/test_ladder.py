# SPDX-License-Identifier: Apache-2.0
"""The oracle's own cases, each derived by hand from docs/policy.md; they were written before the oracle."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import maxminddb
import pytest

from tests.oracle.ladder import Answer, Oracle, Region, region_of
from tests.support.databases import city, country, write_database

NOW = datetime(2026, 6, 1, tzinfo=UTC)

WORLD = {
    "1.0.0.0/8": country("CN"),
    "1.2.0.0/16": country("US"),
    "5.0.0.0/8": city("UA"),
    "5.43.0.0/16": city("UA", "43"),
    "5.63.0.0/16": city("UA", "63"),
    "9.0.0.0/8": country("", continent="AS"),
    "11.0.0.0/8": country("EU", continent="EU"),
    "12.0.0.0/8": country("", registered="RU"),
    "2400::/12": country("CN"),
    "2600::/12": country("US"),
    "4000::/16": country("CN"),
}
SECOND = {"9.0.0.0/8": country("JP"), "1.0.0.0/8": country("DE"), "14.0.0.0/8": country("NO")}

HEAD = """
version: 1
groups:
  eea: [DE, NO]
  supported: [US, group:eea]
lists:
  partners: {prefixes: [1.9.0.0/16, "2400:9::/32"]}
  scanners: {file: scanners.txt}
corrections:
  1.3.0.0/16: US
  1.3.3.0/24: RU
  5.43.9.0/24: UA
  "2400:3::/32": US
never_drop: {prefixes: [1.7.7.0/24, "2400:7::/32"]}
services:
"""
ALLOW_LIST = """
  allow:
    default: deny
    unknown: allow
    allow: [group:supported, list:partners, 1.9.9.0/24, continent:AS, UA]
    deny: [UA-43, list:scanners, 1.9.9.0/24]
"""
DENY_LIST = """
  deny:
    default: allow
    unknown: deny
    allow: ["UA-43", 1.8.0.0/16]
    deny: [CN, UA, RU, continent:EU, 1.8.8.8]
"""
SCANNERS = "# who scans\n1.9.8.0-1.9.8.3  # a range\n1.2.3.4\n"


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """Return both shapes of policy on the two databases."""
    folder = tmp_path_factory.mktemp("oracle")
    (folder / "scanners.txt").write_text(SCANNERS)
    databases = [
        maxminddb.open_database(write_database(folder / f"{number}.mmdb", records), maxminddb.MODE_MEMORY)
        for number, records in enumerate((WORLD, SECOND))
    ]
    return Oracle(HEAD + ALLOW_LIST + DENY_LIST, databases, NOW, folder)


@pytest.mark.parametrize(
    ("address", "region", "allow", "deny"),
    [
        # Countries, by both databases: the first that has a country answers.
        ("1.1.1.1", "CN", ("continent", "accept"), ("country", "drop")),
        ("1.2.1.1", "US", ("country", "accept"), ("default", "accept")),
        ("14.1.1.1", "NO", ("country", "accept"), ("continent", "drop")),
        ("2600::1", "US", ("country", "accept"), ("default", "accept")),
        ("12.1.1.1", "RU", ("default", "drop"), ("country", "drop")),
        # Subdivisions: each line at its own level, the finer first.
        ("5.1.1.1", "UA", ("country", "accept"), ("country", "drop")),
        ("5.43.1.1", "UA-43", ("subdivision", "drop"), ("subdivision", "accept")),
        ("5.63.1.1", "UA-63", ("country", "accept"), ("country", "drop")),
        # A record with only a continent yields to another database's country; a pseudo-country keeps its continent.
        ("9.1.1.1", "JP", ("continent", "accept"), ("default", "accept")),
        ("11.1.1.1", "continent:EU", ("unknown", "accept"), ("continent", "drop")),
        # No database knows it.
        ("15.1.1.1", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        ("2a00::1", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        ("4000::1", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        ("::1.1.1.1", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        ("fec0::1", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        # Corrections: the longest wins, and the subdivision is cleared.
        ("1.3.1.1", "US", ("country", "accept"), ("default", "accept")),
        ("1.3.3.1", "RU", ("default", "drop"), ("country", "drop")),
        ("5.43.9.1", "UA", ("country", "accept"), ("country", "drop")),
        ("2400:3::1", "US", ("country", "accept"), ("default", "accept")),
        # Prefixes and lists: the longest, deny on a tie, before every region.
        ("1.9.1.1", "CN", ("prefix", "accept"), ("country", "drop")),
        ("1.9.9.1", "CN", ("prefix", "drop"), ("country", "drop")),
        ("1.9.8.3", "CN", ("prefix", "drop"), ("country", "drop")),
        ("1.9.8.4", "CN", ("prefix", "accept"), ("country", "drop")),
        ("1.2.3.4", "US", ("prefix", "drop"), ("default", "accept")),
        ("1.8.8.8", "CN", ("continent", "accept"), ("prefix", "drop")),
        ("1.8.8.9", "CN", ("continent", "accept"), ("prefix", "accept")),
        ("2400:9::1", "CN", ("prefix", "accept"), ("country", "drop")),
        # Never-drop prefixes.
        ("1.7.7.7", "CN", ("never-drop", "accept"), ("never-drop", "accept")),
        ("2400:7::1", "CN", ("never-drop", "accept"), ("never-drop", "accept")),
        # Special addresses on the wire.
        ("10.1.1.1", "unknown", ("special", "accept"), ("special", "accept")),
        ("224.0.0.1", "unknown", ("special", "accept"), ("special", "accept")),
        ("fe80::1", "unknown", ("special", "accept"), ("special", "accept")),
        ("64:ff9b:1::1", "unknown", ("special", "accept"), ("special", "accept")),
        ("2001:2::1", "unknown", ("special", "accept"), ("special", "accept")),
        ("2001:20::1", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        ("192.0.0.9", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        # Embedded IPv4: 6to4, Teredo (the client, inverted), NAT64, mapped.
        ("2002:101:101::1", "CN", ("continent", "accept"), ("country", "drop")),
        ("2001:0:4136:e378:8000:63bf:fefe:fefe", "CN", ("continent", "accept"), ("country", "drop")),
        ("64:ff9b::1.1.1.1", "CN", ("continent", "accept"), ("country", "drop")),
        ("::ffff:1.1.1.1", "CN", ("continent", "accept"), ("country", "drop")),
        ("2002:109:901::1", "CN", ("prefix", "drop"), ("country", "drop")),
        ("2002:103:303::1", "RU", ("default", "drop"), ("country", "drop")),
        # An embedded special address is unknown; never-drop prefixes match only the address on the wire.
        ("2002:a00:1::1", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        ("64:ff9b::127.0.0.1", "unknown", ("unknown", "accept"), ("unknown", "drop")),
        ("2002:107:707::1", "CN", ("continent", "accept"), ("country", "drop")),
    ],
)
def test_every_rung(oracle: Oracle, address: str, region: str, allow: tuple[str, str], deny: tuple[str, str]) -> None:
    """Each address gets the region, rung and verdict that docs/policy.md gives it, in both shapes of policy."""
    answers = oracle.explain(address)
    assert {name: (answer.rung, answer.verdict) for name, answer in answers.items()} == {"allow": allow, "deny": deny}
    assert {answer.region for answer in answers.values()} == {region}


@pytest.mark.parametrize(
    ("extra", "verdict"),
    [
        ("", "drop"),
        ("    mode: monitor\n", "accept"),
        ("    starts: 2026-06-01T00:00:00Z\n", "drop"),
        ("    starts: 2026-06-01T00:00:01Z\n", "accept"),
        ("    starts: 2026-06-01T01:00:00+02:00\n", "drop"),
        ("    mode: monitor\n    starts: 2020-01-01T00:00:00Z\n", "accept"),
    ],
)
def test_mode_and_starts(extra: str, verdict: str) -> None:
    """`would_drop` does not depend on the time; the verdict depends on `mode` and `starts`."""
    policy = "services:\n  api:\n    default: allow\n    unknown: deny\n" + extra
    assert Oracle(policy, [], NOW).explain("8.8.8.8") == {
        "api": Answer("unknown", verdict, would_drop=True, region="unknown", label="unknown")
    }


def test_prefix_lines_of_the_wire_come_before_the_embedded_address() -> None:
    """A 6to4 prefix line wins over a longer line for the IPv4 address inside."""
    policy = """
services:
  api:
    default: deny
    unknown: deny
    allow: ["2002:101::/32"]
    deny: [1.1.1.1]
"""
    oracle = Oracle(policy, [], NOW)
    assert oracle.explain("2002:101:101::1")["api"].verdict == "accept"
    assert oracle.explain("2002:909:909::1")["api"].verdict == "drop"


def test_yaml_text_stays_text() -> None:
    """`NO` is Norway, not false."""
    assert (
        "NO"
        in Oracle("services: {api: {default: deny, unknown: deny, allow: [NO]}}", [], NOW).policy.services[0].allowed
    )


@pytest.mark.parametrize(
    ("record", "region"),
    [
        ({"country_code": "CN"}, Region("CN", None, "AS")),
        ({"country_code": "UA", "region": "Crimea", "region_code": "43"}, Region("UA", "UA-43", "EU")),
        ({"country_code": "UA", "region_code": ""}, Region("UA", None, "EU")),
        ({"country_code": ""}, Region()),
        ({"country_code": "ZZ"}, Region()),
        ({"country": {"iso_code": "XK"}}, Region("XK", None, "EU")),
        ({"country": {"iso_code": "QQ"}}, Region()),
        ({"country": {"names": {"en": "?"}}, "registered_country": {"iso_code": "US"}}, Region("US", None, "NA")),
        ({"country": "United States", "country_code": "US", "continent_code": "NA"}, Region("US", None, "NA")),
        ({"country": "US", "continent": "EU"}, Region("US", None, "NA")),
        ({"continent": {"code": "OC"}}, Region(None, None, "OC")),
        ({"country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "CA"}]}, Region("US", "US-CA", "NA")),
        (
            {"country": {"iso_code": "GB"}, "subdivisions": [{"iso_code": "ENG"}, {"iso_code": "LND"}]},
            Region("GB", "GB-ENG", "EU", "GB-LND"),
        ),
        ({}, Region()),
        (None, Region()),
    ],
)
def test_records(record: dict[str, object] | None, region: Region) -> None:
    """Every schema that geodrop promises to read is read; the continent is the table's, not the database's."""
    assert region_of(record) == region


def test_the_oracle_imports_nothing_of_geodrop() -> None:
    """The oracle must not share code with what it tests."""
    for name in ("ladder", "packet", "policy", "world"):
        text = (Path(__file__).parent / f"{name}.py").read_text()
        assert not re.search(r"^\s*(import|from) geodrop", text, re.MULTILINE)
