# SPDX-License-Identifier: Apache-2.0
import pytest

from geodrop.compile import nftables
from geodrop.compile.build import build
from geodrop.compile.nftables import LARGE, build_maps, is_joined
from geodrop.compile.rows import build_rows
from geodrop.compile.zones import build_zones
from geodrop.policy.ladder import build_ladder
from geodrop.policy.model import Policy, Verdict
from geodrop.ruleset.export import as_json
from geodrop.ruleset.model import OTHER, Ruleset, Target
from tests.unit.compile.worlds import networks, policy, region_map, service


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Join maps, however small they are."""
    monkeypatch.setattr(nftables, "is_joined", lambda _apart, _joined: True)


def maps(given: Policy) -> tuple[list[tuple[str, int, str]], list[tuple[int, int, str]]]:
    """Return the first service's maps: IPv4 as (first address, size, target), IPv6 as (start, end, target)."""
    ladders = [build_ladder(given, one) for one in given.services]
    zones = build_zones(given, ladders, region_map())
    rows = build_rows(given, ladders, zones)
    made = build_maps(zones, rows, 0)
    targets, sections = made.targets, nftables.sections(made, "api", ())

    def label(target: Target) -> str:
        klass = " other" if target.klass == OTHER else f" {rows.classes[target.klass]}" if target.klass >= 0 else ""
        return f"{target.kind}{klass}{target.embedding or ''}"

    def names(family: int) -> list[str]:
        return [label(targets[number]) for number in memoryview(sections[f"nft/api/ipv{family}/targets"]).cast("H")]

    ipv4 = networks(sections["nft/api/ipv4/starts"], sections["nft/api/ipv4/ends"])
    bounds = [sections["nft/api/ipv6/starts"], sections["nft/api/ipv6/ends"]]
    starts, ends = ([int.from_bytes(data[i : i + 16], "big") for i in range(0, len(data), 16)] for data in bounds)
    return (
        [(*interval, name) for interval, name in zip(ipv4, names(4), strict=True)],
        list(zip(starts, ends, names(6), strict=True)),
    )


def test_only_what_is_dropped_is_there() -> None:
    """Accepted countries, special and unknown space take no elements; embedding ranges lead to the IPv4 map."""
    ipv4, ipv6 = maps(policy(service(deny=["UA"])))
    assert ipv4 == [("30.0.0.0", 1 << 24, "drop UA")]
    assert ipv6 == [
        (0x64FF9B << 96, (0x64FF9B << 96) + (1 << 32), "embeddednat64"),
        (0x2000 << 112, 0x2001 << 112, "drop UA"),
    ]


def test_nothing_dropped_means_empty_maps() -> None:
    """A service that accepts everything has no element, not even for embedding ranges."""
    assert maps(policy(service())) == ([], [])


def test_never_drop_is_carved_out() -> None:
    """In a denied country a never-drop prefix has its own target, which still drops the address embedded in IPv6."""
    ipv4, _ = maps(policy(service(deny=["UA"]), never_drop=["30.128.0.0/16"]))
    assert ipv4 == [
        ("30.0.0.0", 1 << 23, "drop UA"),
        ("30.128.0.0", 1 << 16, "never-drop UA"),
        ("30.129.0.0", (1 << 23) - (1 << 16), "drop UA"),
    ]


def test_special_is_there_only_for_its_embedded_use() -> None:
    """With `unknown: deny` a special IPv4 address embedded in IPv6 is dropped, while on the wire it is accepted."""
    ipv4, ipv6 = maps(policy(service(allow=["UA", "US"], default=Verdict.DROP, unknown=Verdict.DROP)))
    assert ("10.0.0.0", 1 << 24, "special unknown") in ipv4
    assert ipv4[-1] == ("31.0.0.0", (256 - 31) << 24, "drop unknown")
    assert ipv6[-1][1] == 0  # the end of the family


def test_accepted_prefix_is_a_hole_in_an_embedded_range() -> None:
    """A prefix line for the IPv6 address takes precedence over the IPv4 address embedded in it."""
    _, ipv6 = maps(policy(service(deny=["UA"], allow=["64:ff9b::1e00:0/112"])))
    base = 0x64FF9B << 96
    assert ipv6[:2] == [
        (base, base + 0x1E000000, "embeddednat64"),
        (base + 0x1E010000, base + (1 << 32), "embeddednat64"),
    ]


ONLY_US = service(allow=["US"], default=Verdict.DROP, unknown=Verdict.DROP)


@pytest.mark.usefixtures("joined")
def test_joined_maps_hold_what_is_dropped_whatever_its_region() -> None:
    """A joined map has as many intervals as the accepted part; embedded addresses are told apart as before."""
    ipv4, ipv6 = maps(policy(ONLY_US, never_drop=["30.128.0.0/16"]))
    assert ipv4[0][1:] == (10 << 24, "drop other")
    assert ipv4[1:] == [
        ("10.0.0.0", 1 << 24, "special other"),
        ("11.0.0.0", 9 << 24, "drop other"),
        ("21.0.0.0", (9 << 24) + (1 << 23), "drop other"),
        ("30.128.0.0", 1 << 16, "never-drop other"),
        ("30.129.0.0", (1 << 32) - (30 << 24) - (129 << 16), "drop other"),
    ]
    assert [name for _, _, name in ipv6] == ["drop other", "embeddednat64", "drop other"]


def test_maps_are_joined_where_that_saves_much() -> None:
    """Maps of ten large countries and of one large country keep regions apart, because joining would save nothing."""
    assert [is_joined(*sizes) for sizes in ((45_230, 42_343), (97_359, 97_359), (LARGE, 1_000))] == [False] * 3
    assert [is_joined(*sizes) for sizes in ((670_481, 31_253), (133_241, 77_788), (LARGE + 1, 1_000))] == [True] * 3


@pytest.mark.usefixtures("joined")
def test_an_export_tells_the_regions_of_joined_maps() -> None:
    """Exports come from the zones, not from the nftables maps, so they name regions that the maps join."""
    ruleset = Ruleset.unpack(build(policy(ONLY_US), region_map(), []), "test")
    text = "".join(as_json(ruleset, ruleset.meta.services))
    assert '{"prefix": "30.0.0.0/8", "region": "UA"}' in text
    assert '{"prefix": "64:ff9b::1e00:0/104", "region": "UA"}' in text
    assert "other" not in text.partition('"services"')[2]


def counted_of(given: Policy) -> list[list[str]]:
    """Return the labels that each service counts separately, from an opened ruleset."""
    ruleset = Ruleset.unpack(build(given, region_map(), []), "test")
    return [[ruleset.meta.classes[klass] for klass in one.counted] for one in ruleset.meta.services]


DENY_UA_AND_A_LIST = service(
    "web", allow=["US"], deny=["UA", "20.1.0.0/16"], default=Verdict.DROP, unknown=Verdict.DROP, port=80
)


@pytest.mark.usefixtures("joined")
def test_what_is_counted_apart_is_what_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that a line names come first, then those with the fewest intervals, then by name; over all services."""
    given = policy(service(allow=["US"], deny=["30.1.0.0/16"], default=Verdict.DROP, unknown=Verdict.DROP))
    assert counted_of(given) == [["30.1.0.0/16", "UA", "unknown"]]
    for room, labels in ((8, ["30.1.0.0/16", "UA"]), (3, ["30.1.0.0/16"]), (1, ["30.1.0.0/16"]), (0, [])):
        monkeypatch.setattr(nftables, "ROOM", room)
        assert counted_of(given) == [labels], room
    two = policy(ONLY_US, DENY_UA_AND_A_LIST)
    monkeypatch.setattr(nftables, "ROOM", 3)
    assert counted_of(two) == [[], ["20.1.0.0/16", "UA"]]
    assert build(two, region_map(), []) == build(two, region_map(), [])


@pytest.mark.usefixtures("joined")
def test_the_second_map_holds_what_is_dropped_on_the_wire_by_region() -> None:
    """The second map's classes are indices into `counted`; never-drop, special and embedded addresses are not in it."""
    given = policy(ONLY_US, never_drop=["30.128.0.0/16"])
    ruleset = Ruleset.unpack(build(given, region_map(), []), "test")
    [spec] = ruleset.meta.services
    start = "nft/api/ipv4/counted"
    numbers = ruleset.sections[f"{start}/classes"].cast("H")
    found = [
        (*interval, ruleset.meta.classes[spec.counted[number]])
        for interval, number in zip(
            networks(*(bytes(ruleset.sections[f"{start}/{column}"]) for column in ("starts", "ends"))),
            numbers,
            strict=True,
        )
    ]
    assert ("30.0.0.0", 1 << 23, "UA") in found
    assert ("30.129.0.0", (1 << 23) - (1 << 16), "UA") in found
    starts = {first for first, _, _ in found}
    assert not starts & {"10.0.0.0", "20.0.0.0", "30.128.0.0"}
    assert len(ruleset.sections["nft/api/ipv6/counted/classes"]) // 2 == 4  # UA, unknown around it, and NAT64


def test_maps_that_count_regions_need_no_second_one() -> None:
    """Maps that keep regions apart, as most do, have no second map."""
    assert counted_of(policy(service(deny=["UA"]))) == [[]]
