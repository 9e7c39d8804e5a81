# SPDX-License-Identifier: Apache-2.0
"""Records in the schemas of IPinfo's samples (August 2026) and MaxMind's test databases, with other values."""

from __future__ import annotations

from typing import Any

import pytest

from geodrop.errors import DataError
from geodrop.geo.attribute_records import NOTHING, WANTED, AttributeReader, FoundTrait, RecordAttributes
from geodrop.geo.section import DataSection
from geodrop.policy.model import TraitName
from tests.unit.geo.mmdb_files import encoded

AS = 64_496
ANONYMOUS = {"is_anonymous": True, "is_anonymous_vpn": True}


def read(record: dict[str, Any]) -> tuple[RecordAttributes, list[str]]:
    """Return what a record says, and what in it cannot be understood."""
    section = DataSection(encoded(record), 0, "x.mmdb")
    reader = AttributeReader(section, "x.mmdb")
    return reader.read(section.fields(0, WANTED) or ()), list(reader.strange)


def names(*words: str) -> tuple[FoundTrait, ...]:
    """Return traits without a confidence."""
    return tuple(FoundTrait(TraitName(word), None) for word in sorted(words))


@pytest.mark.parametrize(
    ("record", "asn", "traits"),
    [
        # MaxMind ASN and ISP, DB-IP ASN, ip-location-db
        ({"autonomous_system_number": AS, "autonomous_system_organization": "X"}, AS, ()),
        ({"autonomous_system_number": AS, "isp": "X", "organization": "X"}, AS, ()),
        # IPinfo Lite, ASN, IP to ASN, and iplocate
        ({"as_name": "X", "asn": "AS64496", "country": "Australia", "country_code": "AU"}, AS, ()),
        ({"asn": "AS64496", "domain": "x", "name": "X", "route": "1.0.0.0/8", "type": "hosting"}, AS, ()),
        ({"asn": "64496", "country_code": "US"}, AS, ()),
        ({"asn": AS}, AS, ()),
        ({"asn": "", "country": "AU"}, 0, ()),
        ({"country": {"iso_code": "AU"}}, 0, ()),
        # MaxMind Enterprise and City
        ({"traits": {"autonomous_system_number": AS, "isp": "X", "is_anycast": True}}, AS, names("anycast")),
        ({"country": {"iso_code": "AU"}, "traits": {"is_anycast": True}}, 0, names("anycast")),
        ({"traits": {"is_satellite_provider": True, "user_type": "x"}}, 0, names("satellite")),
        # MaxMind Anonymous IP
        (ANONYMOUS, 0, names("vpn")),
        (
            {
                **ANONYMOUS,
                **dict.fromkeys(
                    ("is_hosting_provider", "is_public_proxy", "is_residential_proxy", "is_tor_exit_node"), True
                ),
            },
            0,
            names("vpn", "hosting", "proxy", "residential_proxy", "tor_exit"),
        ),
        # MaxMind Anonymous Plus: the confidence is that of the VPN
        (
            {**ANONYMOUS, "anonymizer_confidence": 30, "network_last_seen": "2026-04-14", "provider_name": "X"},
            0,
            (FoundTrait(TraitName.VPN, 30),),
        ),
        (
            {**ANONYMOUS, "anonymizer_confidence": 99, "is_hosting_provider": True},
            0,
            (FoundTrait(TraitName.HOSTING, None), FoundTrait(TraitName.VPN, 99)),
        ),
        ({"is_anonymous": True, "anonymizer_confidence": 30, "is_hosting_provider": True}, 0, names("hosting")),
        # MaxMind and IPinfo residential proxies: what is in the file is one
        (
            {"anonymizer_confidence": 82, "network_last_seen": "2026-05-11", "provider_name": "X"},
            0,
            (FoundTrait(TraitName.RESIDENTIAL_PROXY, 82),),
        ),
        ({"last_seen": "2026-07-12", "percent_days_seen": 3, "service": "X"}, 0, names("residential_proxy")),
        # IPinfo Core and Plus
        (
            {
                "asn": "AS64496",
                "is_anonymous": False,
                "is_anycast": True,
                "is_hosting": True,
                "is_mobile": True,
                "is_satellite": False,
            },
            AS,
            names("anycast", "hosting"),
        ),
        ({"is_proxy": True, "is_relay": True, "is_tor": True, "is_vpn": False}, 0, names("proxy", "relay", "tor_exit")),
        # IPinfo Privacy Detection, in its present and its earlier form; its confidence is no percentage
        (
            {"hosting": False, "proxy": False, "relay": True, "tor": False, "vpn": True, "service": "X"},
            0,
            names("relay", "vpn"),
        ),
        ({"confidence": 3.0, "coverage": 1.0, "hosting": True, "vpn": True}, 0, names("hosting", "vpn")),
        ({"anycast": "false", "hosting": "true", "proxy": "", "tor": "", "vpn": "true"}, 0, names("hosting", "vpn")),
        # another vendor's text under the name of a field
        ({"traits": "none", "asn": "AS64496"}, AS, ()),
    ],
)
def test_what_records_say(record: dict[str, Any], asn: int, traits: tuple[FoundTrait, ...]) -> None:
    """Each vendor's fields are understood."""
    assert read(record) == (RecordAttributes(asn, tuple(sorted(traits))), [])


@pytest.mark.parametrize(
    ("record", "strange"),
    [
        ({"asn": "AS 64496"}, ["asn 'AS 64496'"]),
        ({"asn": "4294967296"}, ["asn '4294967296'"]),
        ({"asn": True}, ["asn True"]),
        ({"vpn": "maybe\x1b[2J"}, [r"vpn 'maybe\x1b[2J'"]),
        ({"is_vpn": ["x"]}, ["is_vpn ['x']"]),
    ],
)
def test_what_cannot_be_understood_is_not_said(record: dict[str, Any], strange: list[str]) -> None:
    """It is collected for a warning, fit for a terminal."""
    assert read(record) == (NOTHING, strange)


def test_only_some_of_what_cannot_be_understood_is_kept() -> None:
    """A file with a million such values makes one short warning."""
    data = [encoded({"asn": f"x{number}"}) for number in range(99)]
    section = DataSection(b"".join(data), 0, "x.mmdb")
    reader = AttributeReader(section, "x.mmdb")
    for number in range(99):
        reader.read(section.fields(sum(map(len, data[:number])), WANTED) or ())
    assert len(reader.strange) == 10


@pytest.mark.parametrize("confidence", [101, "high", -1])
def test_a_confidence_that_is_no_percentage_is_damage(confidence: object) -> None:
    """What decides is read strictly."""
    with pytest.raises(DataError, match=r"x\.mmdb: damaged database: a record whose anonymizer_confidence is"):
        read({**ANONYMOUS, "anonymizer_confidence": confidence})
