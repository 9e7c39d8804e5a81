# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.document.problems import Position
from geodrop.document.shape import UnreadableError
from geodrop.policy.lines import parse_country, parse_line
from geodrop.policy.model import LineKind

PLACE = Position("p", 1, 1)


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("NO", LineKind.COUNTRY, "NO"),
        ("XK", LineKind.COUNTRY, "XK"),
        ("UA-43", LineKind.SUBDIVISION, "UA-43"),
        ("GB-SCT", LineKind.SUBDIVISION, "GB-SCT"),
        ("FR-H", LineKind.SUBDIVISION, "FR-H"),
        ("continent:EU", LineKind.CONTINENT, "EU"),
        ("group:eea", LineKind.GROUP, "eea"),
        ("territory:crimea", LineKind.TERRITORY, "crimea"),
        ("atlas:eea", LineKind.ATLAS, "eea"),
        ("list:partners", LineKind.LIST, "partners"),
        ("9.9.9.0/24", LineKind.PREFIX, "9.9.9.0/24"),
        ("9.9.9.9", LineKind.PREFIX, "9.9.9.9/32"),
        ("2A00::/16", LineKind.PREFIX, "2a00::/16"),
    ],
)
def test_lines(text: str, kind: LineKind, name: str) -> None:
    """Each form of line is recognised by its text alone, and keeps that text."""
    line = parse_line(text, PLACE)
    assert (line.kind, line.name, line.text, line.place) == (kind, name, text, PLACE)
    assert line.network == (ip_network(name) if kind is LineKind.PREFIX else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cn", "write CN"),
        ("ua-43", "write UA-43"),
        ("UK", "write GB (United Kingdom)"),
        ("EL", "write GR (Greece)"),
        ("Norway", "write NO"),
        ("south korea", "write KR"),
        ("USA", "codes of countries have two letters"),
        ("QQ", '"QQ" is not a country'),
        ("QQ-1", '"QQ" is not a country'),
        ("EU", "write continent:EU"),
        ("EU-1", "write continent:EU"),
        ("ZZ", "unknown: allow"),
        ("XX", "unknown: allow"),
        ("AP", "unknown: allow"),
        ("A1", "unknown: allow"),
        ("A2", "unknown: allow"),
        ("O1", "unknown: allow"),
        ("UA-43a", "names nothing"),
        ("UA-4321", "names nothing"),
        ("continent:eu", "write continent:EU"),
        ("continent:Asia", "write continent:AS"),
        ("continent:XX", "AF (Africa)"),
        ("Continent: EU", 'write "continent:EU"'),
        ("country:CN", 'write "CN"'),
        ("group:EEA", "write eea"),
        ("group:", "a letter first"),
        ("list: x", "write x"),
        ("LIST:x", 'write "list:x"'),
        ("asn:64496", "write list:NAME, and under lists  NAME: {asn: [64496]}"),
        ("AS64496", "write list:NAME, and under lists  NAME: {asn: [64496]}"),
        ("territory:krimea", "write territory:crimea"),
        ("territory:eu", "write atlas:eu"),
        ("atlas:crimea", "write territory:crimea"),
        ("territory:taiwan", "write TW"),
        ("atlas:us", "write US"),
        ("territory:", "geodrop regions  lists the names"),
        ("atlas:qqqqqq", "geodrop regions  lists the names"),
        ("Territory: crimea", 'write "territory:crimea"'),
        ("territory:north-cyprus", "no database tells it apart: it has no code"),
        ("territory:south-ossetia", "name GE, or prefixes that you know"),
        ("US CA", "put a comma between"),
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("10.0.0.0-10.0.0.9", "list files only"),
        ("supported", "group:NAME"),
        ("*", "a prefix or an address"),
        ("", "names nothing"),
    ],
)
def test_bad_lines(text: str, message: str) -> None:
    """For common mistakes, the message says what was probably meant."""
    with pytest.raises(UnreadableError) as refused:
        parse_line(text, PLACE)
    assert message in str(refused.value)


def test_bad_country_alone() -> None:
    """Where only a country is allowed, the message does not suggest lists and groups."""
    with pytest.raises(UnreadableError) as refused:
        parse_country("1:30")
    assert str(refused.value).endswith("write its code, such as US")


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text is parsed or refused with UnreadableError, and no message has control characters of the file."""
    said = ""
    try:
        parse_line(text, PLACE)
    except UnreadableError as refused:
        said = str(refused)
    assert said.isprintable()
