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
from geodrop.compile.change import Moved, PrefixCounts, ServiceChange, compare
from geodrop.geo.partition import encode
from geodrop.policy.model import Mode, Verdict
from geodrop.ruleset.model import Ruleset
from tests.unit.compile.worlds import policy, region_map, service
from tests.unit.geo.addresses import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.compile.change import RulesetDiff
    from geodrop.policy.model import Policy, Service

CLASS: dict[int, type[IPv4Address | IPv6Address]] = {4: IPv4Address, 6: IPv6Address}
BITS = {4: 32, 6: 128}


def ruleset(given: Policy) -> Ruleset:
    """A policy compiled against the small world."""
    return Ruleset.unpack(build(given, region_map(), []), "test")


def change(old: Sequence[Service], new: Sequence[Service], **lists: Sequence[str]) -> RulesetDiff:
    """What changes between two policies of these services."""
    return compare(ruleset(policy(*old, **lists)), ruleset(policy(*new, **lists)))


def test_region_moves() -> None:
    """Each direction is told by region, with the prefixes, and in one line."""
    found = change([service(deny=["UA"])], [service(deny=["US"])])
    (api,) = found.services
    assert (api.to_drop, api.to_accept) == (Moved(("US",)), Moved(("UA",)))
    assert api.prefixes == {4: PrefixCounts(1, 1), 6: PrefixCounts(0, 1)}
    assert found.as_text() == "api drops US (0.4% of IPv4), accepts UA (0.4% of IPv4), +1 -2 prefixes"
    assert found.as_json()["services"]["api"]["prefixes"]["ipv6"] == {"added": 0, "removed": 1}


def test_nothing_changes() -> None:
    """The same ruleset says so; another one that drops the same says that."""
    same = [service(deny=["UA"])]
    assert change(same, same).as_text() == "nothing changed"
    assert [one.state for one in change(same, same).services] == ["same"]
    other = dataclasses.replace(policy(*same), text="# a comment\n")
    assert compare(ruleset(policy(*same)), ruleset(other)).as_text() == "nothing that is dropped changed"


def test_subdivision_that_gets_named_moves_from_its_country() -> None:
    """Before, its addresses went with the country; if that was dropped too, nothing moves."""
    found = change([service()], [service(deny=["UA-43"])])
    assert found.to_drop == Moved(("UA-43",))
    assert found.prefixes == PrefixCounts(1, 0)
    found = change([service(deny=["UA"])], [service(deny=["UA", "UA-43"])])
    assert found.as_text() == "nothing that is dropped changed"
    found = change([service(deny=["UA", "UA-43"])], [service(deny=["UA-43"])])
    assert (found.to_drop, found.to_accept) == (Moved(), Moved(("UA",)))


def test_lines_move_too() -> None:
    """Lists and inline prefixes are counted apart from regions; one that appears and allows has not moved."""
    lists = {"bad": ["20.1.0.0/16", "2000:1::/32"]}
    found = change([service()], [service(deny=["list:bad", "20.2.0.0/16"], allow=["20.3.0.0/16"])], **lists)
    assert found.to_drop == Moved((), ("20.2.0.0/16", "list:bad"))
    assert found.as_text() == "api drops 20.2.0.0/16 (<0.1% of IPv4), list:bad (<0.1% of IPv4), +3 -0 prefixes"
    found = change([service(deny=["list:bad"])], [service(allow=["list:bad"])], **lists)
    assert found.as_text() == "api accepts list:bad (<0.1% of IPv4), +0 -2 prefixes"


def test_shares_are_of_what_moves() -> None:
    """Of IPv4 without special addresses, as far as the region really moves: what a line holds apart stays."""
    (api,) = change([service()], [service(deny=["US"])]).services
    kept = change([service(allow=["20.1.0.0/16"])], [service(allow=["20.1.0.0/16"], deny=["US"])]).services[0]
    assert 0.0035 < api.shares["US"] < 0.005
    # Of this small world 10.0.0.0/8 is special.
    assert api.shares["US"] - kept.shares["US"] == pytest.approx((1 << 16) / ((1 << 32) - (1 << 24)))
    assert set(api.as_json()["shares"]) == {"US"}


def test_as_many_names_as_a_person_reads() -> None:
    """The largest first; of the others how many, and how much they are together."""
    labels = tuple(f"{letter}{letter}" for letter in "ABCDEFGHIJ")
    shares = {label: number / 1_000 for number, label in enumerate(labels)}
    text = ServiceChange("api", "changed", Moved(labels), Moved(), {}, {}, match=False, shares=shares).as_text()
    assert text.startswith("api drops JJ (0.9% of IPv4), II (0.8% of IPv4), ")
    assert text.endswith(", CC (0.2% of IPv4), 2 more (0.1% of IPv4)")


def test_services_come_and_go() -> None:
    """One that is not there drops nothing; its regions and prefixes come or go with it."""
    one, two = service(deny=["UA"]), service("web", port=80, deny=["US"])
    found = change([one], [one, two])
    assert found.as_text() == "web drops US (0.4% of IPv4), +1 -0 prefixes, web added"
    found = change([one, two], [one])
    assert found.as_text() == "web accepts US (0.4% of IPv4), +0 -1 prefixes, web removed"
    # The same region in two services is one region; the prefixes are each service's own.
    assert change([one, two], [dataclasses.replace(one, deny=()), two]).prefixes == PrefixCounts(0, 2)


def test_settings() -> None:
    """What changes without a prefix moving is said as well: mode, ports, never-drop ports."""
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
    """`starts` reads as the policy writes it."""
    old = ruleset(policy(service(deny=["UA"])))
    later = dataclasses.replace(old.meta.services[0], starts=1720483200)
    new = dataclasses.replace(old, meta=dataclasses.replace(old.meta, services=(later,)))
    assert compare(old, new).as_text() == "api: starts at once -> 2024-07-09T00:00:00Z"


@pytest.mark.parametrize("family", [4, 6])
@given(data=st.data())
def test_prefixes_are_the_fewest(family: int, data: st.DataObject) -> None:
    """Any set of intervals takes as many prefixes as the standard library makes of it, both ends included."""
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
    """The naive count: join neighbours, ask ipaddress."""
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
def test_prefixes_are_those_whose_verdict_changes(old: Service, new: Service) -> None:
    """The counts are what one finds who asks both rulesets for the verdict of every address, an interval at a time."""
    before, after = ruleset(policy(old)), ruleset(policy(new))
    (found,) = compare(before, after).services
    for family in (4, 6):
        starts = sorted({start for one in (before, after) for start in boundaries(one, family)})
        verdicts = [(drops(before, family, start), drops(after, family, start)) for start in starts]
        added = fewest(family, starts, [pair == (False, True) for pair in verdicts])
        removed = fewest(family, starts, [pair == (True, False) for pair in verdicts])
        assert found.prefixes[family] == PrefixCounts(added, removed)


def boundaries(one: Ruleset, family: int) -> list[int]:
    """Where the intervals of a ruleset start."""
    column = one.sections[f"ipv{family}/starts"]
    return decode(family, np.frombuffer(column, "<u4" if family == 4 else "S16"))


def drops(one: Ruleset, family: int, address: int) -> bool:
    """The verdict on one address as it stands in a packet."""
    return one.row(one.zone_at(CLASS[family](address)), 0).verdict == "drop"


def test_naive_model_is_right() -> None:
    """The model above counts as a person would."""
    start = int(ip_network("10.0.0.0/8").network_address)
    assert fewest(4, [0, start, start + 3, start + 4], [False, True, True, False]) == 1
    assert fewest(4, [0, start, start + 3], [False, True, False]) == 2
