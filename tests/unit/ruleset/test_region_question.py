# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from geodrop.errors import DataError
from geodrop.policy.countries import UNKNOWN, Region, country_region
from geodrop.ruleset.model import CompiledGroup
from geodrop.ruleset.region_question import RegionQuestion, meant_as_region, parse_region, region_named
from tests.unit.ruleset.test_model import META

GROUPS = (
    CompiledGroup("supported", ("US", "group:eea", "list:partners")),
    CompiledGroup("eea", ("DE", "FR", "group:supported", "continent:OC")),
)
KNOWN = replace(META, groups=GROUPS)


def asked(text: str) -> RegionQuestion:
    """Return the question that a text asks."""
    found = parse_region(text, KNOWN)
    assert found
    return found


@pytest.mark.parametrize(
    ("text", "kind", "members"),
    [
        ("CN", "country", {"CN"}),
        ("cn", "country", {"CN"}),
        ("UA-43", "subdivision", {"UA-43"}),
        ("continent:AS", "continent", {"continent:AS"}),
        ("unknown", "unknown", {"unknown"}),
        ("territory:luhansk", "subdivision", {"UA-09", "RU-LUG"}),
        ("territory:hong-kong", "country", {"HK", "CN-HK"}),
        ("atlas:five-eyes", "group", {"AU", "CA", "GB", "NZ", "US"}),
        ("group:supported", "group", {"US", "DE", "FR", "list:partners", "continent:OC"}),
    ],
)
def test_what_can_be_asked_about(text: str, kind: str, members: set[str]) -> None:
    """A group is opened, with the groups inside it, also if two name each other."""
    found = asked(text)
    assert (found.text, found.kind, set(found.members)) == (text, kind, members)


@pytest.mark.parametrize("text", ["1.2.3.4", "1.2.3.0/24", "2400::1", "abcd::1", "a:b:c::", "[2400::1]:443", "::", ""])
def test_addresses_are_left_to_others(text: str) -> None:
    """A text with the form of an address, or with nothing of a region, is no question about a region."""
    assert not meant_as_region(text)
    assert parse_region(text, KNOWN) is None


@pytest.mark.parametrize(
    ("text", "next_step"),
    [
        ("China", "write CN"),
        ("Côte d'Ivoire", "write CI"),
        ("Azia", "write continent:AS"),
        ("supported", "write group:supported"),
        ("grup:eea", "write group:eea"),
        ("unknwn", "write unknown"),
        ("crimea", "write territory:crimea"),
        ("territory:north-cyprus", "write "),
        ("list:partners", "ask about a prefix of the list"),
        ("a.example", "write a country"),
    ],
)
def test_an_unknown_name(text: str, next_step: str) -> None:
    """Bad data (65) that quotes the text and names the nearest known region."""
    with pytest.raises(DataError) as failure:
        parse_region(text, KNOWN)
    assert repr(text) in failure.value.message
    assert failure.value.next_step.startswith(next_step)


@pytest.mark.parametrize(
    ("region", "holding"),
    [
        (country_region("DE"), {"group:supported", "continent:EU"}),
        (Region("UA", "UA-43", "EU"), {"UA-43", "UA", "continent:EU"}),
        (Region("GB", "GB-ENG", "EU", "GB-LND"), {"GB-LND", "GB-ENG", "continent:EU"}),
        (Region(continent="EU"), {"continent:EU"}),
        (UNKNOWN, {"unknown"}),
    ],
)
def test_what_holds_a_region(region: Region, holding: set[str]) -> None:
    """A region belongs to itself, and to what is around it; unknown addresses belong to nothing else."""
    texts = ("group:supported", "UA-43", "UA", "GB-LND", "GB-ENG", "continent:EU", "unknown")
    assert {text for text in texts if asked(text).holds(region)} == holding


@pytest.mark.parametrize("name", ["CN", "UA-43", "continent:AS", "unknown"])
def test_a_name_is_its_region(name: str) -> None:
    """A region that is made from its name has that name."""
    assert str(region_named(name)) == name
