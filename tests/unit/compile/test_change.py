# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
    summarize_address_range,
)
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodrop.compile import change as module
from geodrop.compile.build import build
from geodrop.compile.change import compare
from geodrop.geo.partition import encode, longest_match
from geodrop.geo.world import NAT64
from geodrop.policy.model import Mode, Verdict
from geodrop.ruleset.difference import PrefixCounts, Shares
from geodrop.ruleset.model import Ruleset
from tests.unit.compile.worlds import policy, region_map, service
from tests.unit.geo.addresses import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.policy.model import Policy, Service
    from geodrop.ruleset.difference import RulesetDiff, ServiceChange

CLASS: dict[int, type[IPv4Address | IPv6Address]] = {4: IPv4Address, 6: IPv6Address}
BITS = {4: 32, 6: 128}


def ruleset(given: Policy) -> Ruleset:
    """Compile a policy against the small world."""
    return Ruleset.unpack(build(given, region_map(), []), "test")


def change(old: Sequence[Service], new: Sequence[Service], **lists: Sequence[str]) -> RulesetDiff:
    """Return what changes between two policies of these services."""
    return compare(ruleset(policy(*old, **lists)), ruleset(policy(*new, **lists)))


def moved(found: ServiceChange, to: str) -> list[str]:
    """Return what moves to a verdict, by label."""
    return list(found.moved(to))


def test_region_moves() -> None:
    """Regions that move are named for each direction, with addresses, /48s and prefixes, and in one line of text."""
    found = change([service(deny=["UA"])], [service(deny=["US"])])
    (api,) = found.services
    assert [(one.label, one.to, one.ipv4_addresses, one.ipv6_48s) for one in api.moves] == [
        ("US", "drop", 1 << 24, 0),
        ("UA", "accept", 1 << 24, 1 << 32),
    ]
    assert api.prefixes == {4: PrefixCounts(1, 1), 6: PrefixCounts(0, 1)}
    assert found.as_text() == "api drops US (0.4% of IPv4), accepts UA (0.4% of IPv4), +1 -2 prefixes"


def test_the_line_that_is_responsible() -> None:
    """A move names the line that decides now: what is denied, what allows, or the default."""
    meta = ruleset(policy(service(deny=["US"]))).meta
    old, new = service(deny=["UA"], default=Verdict.DROP), service(deny=["US"], allow=["UA"])
    (api,) = change([old], [new]).services
    lines = {one.label: one.line for one in api.moves}
    assert meta.policy_name == "policy.yaml"
    assert lines == {"UA": "policy.yaml:1 allow: UA"}
    (api,) = change([new], [old]).services
    assert {one.label: one.line for one in api.moves} == {"UA": "policy.yaml:1 deny: UA"}


def test_addresses_that_the_database_moves() -> None:
    """If the database moves a prefix to a denied country, that country is named, with only what moved."""
    old = ruleset(policy(service(deny=["US"])))
    ipv4 = longest_match(4, [(ip_network("20.0.0.0/8"), 4), (ip_network("30.0.0.0/9"), 4)], 0)
    world = dataclasses.replace(region_map(), ipv4=ipv4)
    new = Ruleset.unpack(build(policy(service(deny=["US"])), world, []), "test")
    [api] = compare(old, new).services
    assert [(one.label, one.to, one.ipv4_addresses) for one in api.moves] == [("US", "drop", 1 << 23)]


def test_nothing_in_force() -> None:
    """Against nothing everything that is dropped is new, and the blast radius is of it."""
    new = ruleset(policy(service(deny=["US", "UA"])))
    [api] = compare(None, new).services
    assert (api.state, moved(api, "drop"), moved(api, "accept")) == ("added", ["UA", "US"], [])
    assert api.blast_radius == api.newly_dropped
    # In this small world 10.0.0.0/8 is special, and Ukraine has all of IPv6 that any country has.
    assert api.blast_radius.ipv4 == pytest.approx((2 << 24) / ((1 << 32) - (1 << 24)))
    assert api.blast_radius.ipv6 == 1.0
    assert not compare(None, new).never_drop_ports


def test_blast_radius_counts_both_ways() -> None:
    """What is accepted again is part of the blast radius, and not of what is newly dropped."""
    [api] = change([service(deny=["UA"])], [service(deny=["US"])]).services
    assert api.blast_radius.ipv4 == pytest.approx(2 * api.newly_dropped.ipv4)
    assert (api.blast_radius.ipv6, api.newly_dropped.ipv6) == (1.0, 0.0)


def test_special_addresses_are_told_and_have_no_share() -> None:
    """A denied special prefix moves as many addresses as it has; shares are of global addresses only."""
    [api] = change([service()], [service(deny=["10.0.0.0/9"])]).services
    assert [(one.kind, one.name, one.ipv4_addresses, one.share) for one in api.moves] == [
        ("prefix", "10.0.0.0/9", 1 << 23, 0.0)
    ]
    assert api.blast_radius == Shares()
    [api] = change([service(deny=["10.0.0.0/9"])], [service()]).services
    assert [(one.name, one.to, one.line) for one in api.moves] == [("10.0.0.0/9", "accept", "")]


def test_a_never_drop_prefix_is_a_prefix() -> None:
    """What a never-drop prefix lets in again is named after it."""
    deny = service(deny=["US"])
    new = ruleset(policy(deny, never_drop=["20.0.0.0/9"]))
    [api] = compare(ruleset(policy(deny)), new).services
    assert [(one.kind, one.name, one.to, one.ipv4_addresses) for one in api.moves] == [
        ("prefix", "20.0.0.0/9", "accept", 1 << 23)
    ]


def test_a_48_counts_once() -> None:
    """Many small IPv6 prefixes of one list in a /48 are one /48, and one prefix across two is two."""
    lists = {"bad": ["2000:1:2:3::/64", "2000:1:2:5::/64", "2000:1:2:ffff::/64", "2000:1:3::/64"]}
    [api] = change([service()], [service(deny=["list:bad"])], **lists).services
    assert [(one.kind, one.name, one.ipv6_48s) for one in api.moves] == [("list", "bad", 2)]
    # Ukraine has 2000::/16, which is 2^32 /48s.
    assert api.blast_radius.ipv6 == pytest.approx(2 / 2**32)


def test_ipv6_that_no_database_knows_is_not_in_use() -> None:
    """With `unknown: deny` all unallocated space moves, but no /48 in use does."""
    [api] = change([service()], [service(unknown=Verdict.DROP)]).services
    unknown = next(one for one in api.moves if one.label == "unknown")
    assert (unknown.ipv6_48s, api.blast_radius.ipv6) == (0, 0.0)
    assert api.blast_radius.ipv4 > 0.9


def test_space_that_a_database_fills_is_not_in_use() -> None:
    """A country that has a /12 in one piece has no /48 in use there; a /16 counts."""
    networks = (("2400::/12", 4), ("2600::/16", 4), ("2000::/16", 3), ("64:ff9b::/96", NAT64))
    ipv6 = [(ip_network(text), number) for text, number in networks]
    world = dataclasses.replace(region_map(), ipv6=longest_match(6, ipv6, 0))
    old, new = (Ruleset.unpack(build(policy(service(deny=deny)), world, []), "test") for deny in (["UA"], ["UA", "US"]))
    [api] = compare(old, new).services
    assert [one.ipv6_48s for one in api.moves] == [1 << 32]
    assert api.blast_radius.ipv6 == pytest.approx(1 / 2)


def test_nothing_changes() -> None:
    """The text differs for an equal ruleset and for another ruleset that drops the same."""
    same = [service(deny=["UA"])]
    assert change(same, same).as_text() == "nothing changed"
    assert [one.state for one in change(same, same).services] == ["same"]
    other = dataclasses.replace(policy(*same), text="# a comment\n")
    assert compare(ruleset(policy(*same)), ruleset(other)).as_text() == "nothing that is dropped changed"


def test_subdivision_that_gets_named_moves_from_its_country() -> None:
    """A newly named subdivision moves from its country's verdict; if the country was dropped too, nothing moves."""
    found = change([service()], [service(deny=["UA-43"])])
    assert moved(found.services[0], "drop") == ["UA-43"]
    assert found.prefixes == PrefixCounts(1, 0)
    found = change([service(deny=["UA"])], [service(deny=["UA", "UA-43"])])
    assert found.as_text() == "nothing that is dropped changed"
    found = change([service(deny=["UA", "UA-43"])], [service(deny=["UA-43"])])
    assert (moved(found.services[0], "drop"), moved(found.services[0], "accept")) == ([], ["UA"])


def test_lines_move_too() -> None:
    """Lists and inline prefixes are counted separately from regions; a new line that allows has not moved."""
    lists = {"bad": ["20.1.0.0/16", "2000:1::/32"]}
    found = change([service()], [service(deny=["list:bad", "20.2.0.0/16"], allow=["20.3.0.0/16"])], **lists)
    assert {(one.kind, one.name) for one in found.services[0].moves} == {("prefix", "20.2.0.0/16"), ("list", "bad")}
    assert found.as_text() == "api drops 20.2.0.0/16 (<0.1% of IPv4), list:bad (<0.1% of IPv4), +3 -0 prefixes"
    found = change([service(deny=["list:bad"])], [service(allow=["list:bad"])], **lists)
    assert found.as_text() == "api accepts list:bad (<0.1% of IPv4), +0 -2 prefixes"


def test_services_come_and_go() -> None:
    """A missing service drops nothing; regions and prefixes are added or removed with their service."""
    one, two = service(deny=["UA"]), service("web", port=80, deny=["US"])
    found = change([one], [one, two])
    assert found.as_text() == "web drops US (0.4% of IPv4), +1 -0 prefixes, web added"
    found = change([one, two], [one])
    assert found.as_text() == "web accepts US (0.4% of IPv4), +0 -1 prefixes, web removed"
    # The same region in two services counts once; prefixes count for each service.
    assert change([one, two], [dataclasses.replace(one, deny=()), two]).prefixes == PrefixCounts(0, 2)


def test_settings() -> None:
    """Changes without a moved prefix are reported as well: mode, ports, never-drop ports."""
    old = service(deny=["UA"])
    found = change([dataclasses.replace(old, mode=Mode.MONITOR)], [old])
    assert found.services[0].settings == {"mode": ("monitor", "enforce")}
    assert found.as_text() == "api: mode monitor -> enforce"
    assert change([old], [service(deny=["UA"], port=80)]).as_text() == "api: match changed"
    one, other = (policy(old) for _ in range(2))
    ports = dataclasses.replace(other.never_drop.ports, tcp=((22, 22),))
    other = dataclasses.replace(other, never_drop=dataclasses.replace(other.never_drop, ports=ports))
    assert compare(ruleset(one), ruleset(other)).as_text() == "never-drop ports changed"


def test_start_is_a_time() -> None:
    """`starts` is written as in the policy."""
    old = ruleset(policy(service(deny=["UA"])))
    later = dataclasses.replace(old.meta.services[0], starts=1720483200)
    new = dataclasses.replace(old, meta=dataclasses.replace(old.meta, services=(later,)))
    assert compare(old, new).as_text() == "api: starts at once -> 2024-07-09T00:00:00Z"


@pytest.mark.parametrize("family", [4, 6])
@given(data=st.data())
def test_prefixes_are_the_fewest(family: int, data: st.DataObject) -> None:
    """Any set of intervals takes as many prefixes as the standard library makes of it, up to both ends of a family."""
    bits = BITS[family]
    address = st.one_of(
        st.integers(0, (1 << bits) - 1),
        st.integers(0, bits - 1).map(lambda bit: 1 << bit),
        st.integers(0, bits).map(lambda bit: (1 << bits) - (1 << bit)),
        st.integers(0, 20),
    )
    starts = sorted({0, *data.draw(st.lists(address, max_size=12))})
    chosen = data.draw(st.lists(st.booleans(), min_size=len(starts), max_size=len(starts)))
    assert module._prefixes(encode(family, starts), np.array(chosen)) == fewest(family, starts, chosen)


def fewest(family: int, starts: Sequence[int], chosen: Sequence[bool]) -> int:
    """Count naively: join neighbours, and let ipaddress make prefixes."""
    ends = [*starts[1:], 1 << BITS[family]]
    joined: list[tuple[int, int]] = []
    for start, end, wanted in zip(starts, ends, chosen, strict=True):
        if wanted and joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        elif wanted:
            joined.append((start, end))
    return sum(len(list(_summarized(family, first, end - 1))) for first, end in joined)


def _summarized(family: int, first: int, last: int) -> Iterator[IPv4Network | IPv6Network]:
    if family == 4:
        return summarize_address_range(IPv4Address(first), IPv4Address(last))
    return summarize_address_range(IPv6Address(first), IPv6Address(last))


LINES = st.lists(st.sampled_from(["UA", "UA-43", "US", "continent:EU", "20.0.0.0/9", "30.1.2.0/23", "2000:8::/29"]))
SERVICES = st.builds(
    lambda deny, allow, default: service(
        deny=deny, allow=[line for line in allow if line not in deny], default=Verdict(default)
    ),
    LINES,
    LINES,
    st.sampled_from(["accept", "drop"]),
)


@given(SERVICES, SERVICES)
def test_what_moves_is_what_changes_its_verdict(old: Service, new: Service) -> None:
    """Prefixes, moves and shares equal those from looking up every interval's verdict in both rulesets, naively."""
    before, after = ruleset(policy(old)), ruleset(policy(new))
    (found,) = compare(before, after).services
    for family in (4, 6):
        starts = sorted({start for one in (before, after) for start in boundaries(one, family)})
        verdicts = [(drops(before, family, start), drops(after, family, start)) for start in starts]
        added = fewest(family, starts, [pair == (False, True) for pair in verdicts])
        removed = fewest(family, starts, [pair == (True, False) for pair in verdicts])
        assert found.prefixes[family] == PrefixCounts(added, removed)
        ends = [*starts[1:], 1 << BITS[family]]
        naive: dict[tuple[str, str], list[range]] = {}
        whole: list[range] = []
        moving: list[range] = []
        for start, end, (was, is_now) in zip(starts, ends, verdicts, strict=True):
            space = range(start, end) if family == 4 else sites(start, end)
            if not in_use(before, after, family, start):
                continue
            whole.append(space)
            if was != is_now:
                moving.append(space)
                key = label(after, family, start), "drop" if is_now else "accept"
                naive.setdefault(key, []).append(space)
        figures = {(one.label, one.to): (one.ipv4_addresses, one.ipv6_48s)[family == 6] for one in found.moves}
        assert {key: size for key, size in figures.items() if size} == {
            key: count(spaces) for key, spaces in naive.items() if count(spaces)
        }
        assert found.blast_radius[family == 6] == pytest.approx(count(moving) / count(whole))


def sites(start: int, end: int) -> range:
    """Return the /48s that an interval touches, inside 2000::/3; none if it is larger than a /16."""
    first, last = max(start, 0x2 << 124), min(end, 0x4 << 124) - 1
    found = range(first >> 80, (last >> 80) + 1) if first <= last else range(0)
    return found if len(found) <= 1 << 32 else range(0)


def count(spaces: Sequence[range]) -> int:
    """Count what ascending ranges hold together, each number once."""
    total, end = 0, 0
    for space in spaces:
        total += max(0, space.stop - max(space.start, end)) if space else 0
        end = max(end, space.stop)
    return total


def in_use(before: Ruleset, after: Ruleset, family: int, address: int) -> bool:
    """Return whether an address is in use: not special, and in IPv6 neither unknown to both nor embedding IPv4."""
    zones = [one.meta.zones[one.zone_at(CLASS[family](address))] for one in (before, after)]
    if any(zone.special for zone in zones):
        return False
    if family == 4:
        return True
    return not all(zone.region == "unknown" for zone in zones) and not any(zone.embedding for zone in zones)


def label(one: Ruleset, family: int, address: int) -> str:
    """Return what a ruleset counts an address under."""
    return one.meta.label(one.row(one.zone_at(CLASS[family](address)), 0).klass) or ""


def boundaries(one: Ruleset, family: int) -> list[int]:
    """Return where the intervals of a ruleset start."""
    column = one.sections[f"ipv{family}/starts"]
    return decode(family, np.frombuffer(column, "<u4" if family == 4 else "S16"))


def drops(one: Ruleset, family: int, address: int) -> bool:
    """Return the verdict for one address as it is in a packet."""
    return one.row(one.zone_at(CLASS[family](address)), 0).verdict == "drop"


def test_naive_model_is_right() -> None:
    """The naive model above is correct for a known example."""
    start = int(ip_network("10.0.0.0/8").network_address)
    assert fewest(4, [0, start, start + 3, start + 4], [False, True, True, False]) == 1
    assert fewest(4, [0, start, start + 3], [False, True, False]) == 2
