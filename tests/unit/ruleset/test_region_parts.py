# SPDX-License-Identifier: Apache-2.0
import random
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from geodrop.compile.change import compare
from geodrop.errors import DataError
from geodrop.report.pieces import whole
from geodrop.ruleset import region_parts as module
from geodrop.ruleset.model import Ruleset
from geodrop.ruleset.question import Piece
from geodrop.ruleset.region_parts import chosen, parts_of
from geodrop.ruleset.region_question import RegionQuestion, parse_region
from tests.support.databases import city, country
from tests.support.worlds import HEAD, compiled

POLICY = (
    "version: 1\n"
    "groups: {embargo: [CN, group:more], more: [RU, list:partners]}\n"
    "lists: {partners: {prefixes: [1.2.3.0/24]}}\n"
    "never_drop: {prefixes: [1.2.4.0/24], ports: {}}\n"
    "services:\n  api: {default: allow, unknown: allow, allow: [list:partners], deny: [CN, RU, UA-43]}\n"
)
WORLD = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/16": city("UA", "43"),
    "2.1.0.0/16": city("UA", "30"),
    "2400::/32": country("CN"),
    "2a00::/32": city("UA", "43"),
}


@pytest.fixture(scope="module")
def ruleset(tmp_path_factory: pytest.TempPathFactory) -> Ruleset:
    """Return the policy above as a ruleset."""
    return compiled(POLICY, tmp_path_factory.mktemp("parts"), WORLD)


def ask(ruleset: Ruleset, text: str) -> tuple[RegionQuestion, list[Piece]]:
    """Return the question with its pieces."""
    asked = parse_region(text, ruleset.meta)
    assert asked
    return chosen(ruleset, whole(parts_of(ruleset)), asked)


def amounts(ruleset: Ruleset, text: str) -> list[tuple[str, int, int]]:
    """Return an address of each part, with the numbers of IPv4 addresses and IPv6 /48s."""
    return [(str(piece.address), piece.count or 0, piece.ipv6_48s) for piece in ask(ruleset, text)[1]]


def test_the_parts_of_a_country(ruleset: Ruleset) -> None:
    """What a line denies and what never-drop takes out are parts; prefixes of a list are of no region that is known."""
    asked, pieces = ask(ruleset, "CN")
    assert amounts(ruleset, "CN") == [("1.2.5.0", (1 << 24) - 512, 1 << 16), ("1.2.4.0", 256, 0)]
    assert asked.not_counted == 256
    assert sum(piece.ipv4_share for piece in pieces) == 1


def test_regions_inside_regions(ruleset: Ruleset) -> None:
    """A country and a continent hold their subdivisions; one that no line names is judged as its country."""
    assert amounts(ruleset, "UA-43") == [("2.0.0.0", 1 << 16, 1 << 16)]
    assert amounts(ruleset, "UA") == amounts(ruleset, "continent:EU")
    assert amounts(ruleset, "UA") == [("2.0.0.0", 1 << 16, 1 << 16), ("2.1.0.0", 1 << 16, 0)]
    asked, _ = ask(ruleset, "UA-30")
    assert (asked.subject, amounts(ruleset, "UA-30")) == ("UA", amounts(ruleset, "UA"))


def test_a_territory_is_answered_whole_or_not_at_all(ruleset: Ruleset, tmp_path: Path) -> None:
    """The policy does not tell Sevastopol apart, so it is no answer about Crimea what the rest of Crimea gets."""
    with pytest.raises(DataError, match="territory:crimea: no address of UA-40 or RU-SEV is known"):
        ask(ruleset, "territory:crimea")
    both = compiled(POLICY.replace("UA-43", "'territory:crimea'"), tmp_path, {**WORLD, "2.2.0.0/16": city("UA", "40")})
    assert sum(count for _, count, _ in amounts(both, "territory:crimea")) == 2 << 16


def test_a_group_holds_lists_too(ruleset: Ruleset) -> None:
    """What a list of the group decides belongs to the group, and is then counted."""
    assert amounts(ruleset, "group:more") == [("1.2.3.0", 256, 0)]
    asked, _ = ask(ruleset, "group:embargo")
    assert asked.not_counted == 0
    assert sum(count for _, count, _ in amounts(ruleset, "group:embargo")) == (1 << 24)


def test_what_is_in_no_region(ruleset: Ruleset) -> None:
    """Special addresses are not unknown ones; a country without addresses is an error with a next step (65)."""
    [(_, count, sites)] = amounts(ruleset, "unknown")
    special = 1 << 32 - 8  # 10.0.0.0/8 alone
    assert count < (1 << 32) - (1 << 24) - (2 << 16) - special
    assert sites == 0
    with pytest.raises(DataError, match="AQ: no address of it is known") as failure:
        ask(ruleset, "AQ")
    assert "--policy" in failure.value.next_step


def random_world(chance: random.Random) -> dict[str, Any]:
    """Return disjoint networks of a few countries, many of them below a /48, beside each other."""
    countries = ("CN", "RU", "US", "DE", "IR")
    world = {}
    for number in range(200):
        length = chance.choice((16, 20, 24, 30))
        world[str(IPv4Network(((11 + number // 8 << 24) + (number % 8 << 21), length)))] = length
        length = chance.choice((32, 40, 47, 49, 52, 64))
        world[str(IPv6Network(((0x2400 << 112) + (number << 80 - number % 3), length), strict=False))] = length
    return {network: country(chance.choice(countries)) for network in world}


@pytest.mark.parametrize("intervals", [1, 7, 20_000])
def test_as_much_as_a_change_would_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, intervals: int) -> None:
    """For each denied region the numbers are those that `plan` gives, whatever the intervals between two pauses."""
    monkeypatch.setattr(module, "INTERVALS", intervals)
    monkeypatch.setattr(module, "_latest", [])
    policy = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN, RU, IR]\n"
    ruleset = compiled(policy, tmp_path, random_world(random.Random(5)))
    [service] = compare(None, ruleset).services
    moved = {move.name: (move.ipv4_addresses, move.ipv6_48s) for move in service.moves}
    found = {}
    for name in moved:
        [(_, count, sites)] = amounts(ruleset, name)
        found[name] = count, sites
    assert found == moved
    assert len(moved) == 3
    assert all(count and sites for count, sites in moved.values())


def test_the_address_is_of_the_largest_interval(ruleset: Ruleset) -> None:
    """Each part names an address of it, which the ruleset judges in that way; IPv4 where there is any."""
    for part in whole(parts_of(ruleset)):
        assert isinstance(part.address, IPv4Address if part.ipv4 else IPv6Address)
        rows = {ruleset.row(zone, 0) for zone in (part.zone, ruleset.zone_at(part.address))}
        assert len(rows) == 1
