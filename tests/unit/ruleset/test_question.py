# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from ipaddress import ip_network

import pytest

from geodrop.errors import DataError
from geodrop.ruleset import question as module
from geodrop.ruleset.model import Ruleset
from geodrop.ruleset.question import parse, pieces
from tests.unit.ruleset.test_model import META, pack, u16

RULESET = Ruleset.unpack(pack(), "file")


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("1.2.3.4", "1.2.3.4/32"),
        ("1.2.3.4:443", "1.2.3.4/32"),
        ("2400::1", "2400::1/128"),
        ("[2400::1]:51234", "2400::1/128"),
        ("[2400::1]", "2400::1/128"),
        ("fe80::1%eth0", "fe80::1/128"),
        ("fe80::1%eth0/64", "fe80::/64"),
        ("[fe80::1%eth0]:443", "fe80::1/128"),
        ("1.2.3.0/24", "1.2.3.0/24"),
        ("1.2.3.4/24", "1.2.3.0/24"),
        ("2400::/32", "2400::/32"),
    ],
)
def test_what_logs_and_people_write(text: str, network: str) -> None:
    """Addresses with a client's port or in brackets are accepted, and prefixes with host bits set."""
    asked = parse(text)
    assert (asked.text, asked.network) == (text, ip_network(network))
    assert asked.single == ("/" not in text)


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4/33", "1.2.3.4:65536", "[1.2.3.4", "::g", "a.example", "1.2.3.4:x"]
)
def test_what_is_neither(text: str) -> None:
    """Anything else is bad data (65); the message quotes it and says what to write."""
    with pytest.raises(DataError, match="is neither an address nor a prefix") as failure:
        parse(text)
    assert "[2001:db8::1]:443" in failure.value.next_step


def test_pieces_of_a_prefix_add_up() -> None:
    """Each address of an IPv4 prefix is in exactly one piece; IPv6 addresses are not counted."""
    found = pieces(RULESET, parse("0.0.0.0/0"))
    assert sum(piece.count or 0 for piece in found) == 1 << 32
    assert len({RULESET.zone_at(piece.address) for piece in found}) == len(found) > 1
    assert [(str(one.address), one.count) for one in pieces(RULESET, parse("1.2.3.0/25"))] == [("1.2.3.0", 128)]
    assert {piece.count for piece in pieces(RULESET, parse("::/0"))} == {None}


@pytest.mark.parametrize(
    ("embedding", "start", "prefix", "expected"),
    [
        ("6to4", "2002::", "2002:102:300::/40", ["2002:102:300::"]),
        ("6to4", "2002::", "2002::/16", ["2002::", "2002:100::"]),
        ("teredo", "2001::", "2001::fefd:fcfb/128", ["2001::fefd:fcfb"]),
        ("teredo", "2001::", "2001::/64", ["2001::ffff:ffff", "2001::feff:ffff"]),
        ("nat64", "64:ff9b::", "64:ff9b::/96", ["64:ff9b::", "64:ff9b::100:0"]),
    ],
)
def test_a_prefix_of_embedding_addresses(embedding: str, start: str, prefix: str, expected: list[str]) -> None:
    """Of addresses that embed IPv4, one is named for each way in which the embedded addresses are judged."""
    zones = (*META.zones[:2], replace(META.zones[2], embedding=embedding))
    first = ip_network(start)[0].packed
    rows = (*META.rows, replace(META.rows[0], verdict="embedded"))
    data = pack(
        replace(META, zones=zones, rows=rows),
        ipv6__starts=bytes(16) + first,
        ipv6__zones=u16(0, 2),
        rows=u16(0, 0, 1, 0, 2, 2),
    )
    assert [str(piece.address) for piece in pieces(Ruleset.unpack(data, "file"), parse(prefix))] == expected


def test_too_large_a_prefix_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix with too many intervals is refused, so that no request can block the daemon for long."""
    monkeypatch.setattr(module, "MAX_INTERVALS", 1)
    with pytest.raises(DataError, match="1 is the most"):
        pieces(RULESET, parse("0.0.0.0/0"))
