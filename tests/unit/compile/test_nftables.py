from geodrop.compile.nftables import build_maps
from geodrop.compile.rows import build_rows
from geodrop.compile.zones import build_zones
from geodrop.policy.ladder import build_ladder
from geodrop.policy.model import Policy, Verdict
from geodrop.ruleset.model import Target
from tests.unit.compile.worlds import networks, policy, region_map, service


def maps(given: Policy) -> tuple[list[tuple[str, int, str]], list[tuple[int, int, str]]]:
    """The maps of the first service: IPv4 as (first address, size, target), IPv6 as (start, end, target)."""
    ladders = [build_ladder(given, one) for one in given.services]
    zones = build_zones(given, ladders, region_map())
    rows = build_rows(given, ladders, zones)
    targets, sections = build_maps(zones, rows, 0, "api")

    def label(target: Target) -> str:
        klass = f" {rows.classes[target.klass]}" if target.klass >= 0 else ""
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
    """Accepted countries, special and unknown space cost nothing; embedded ranges lead to the IPv4 map."""
    ipv4, ipv6 = maps(policy(service(deny=["UA"])))
    assert ipv4 == [("30.0.0.0", 1 << 24, "drop UA")]
    assert ipv6 == [
        (0x64FF9B << 96, (0x64FF9B << 96) + (1 << 32), "embeddednat64"),
        (0x2000 << 112, 0x2001 << 112, "drop UA"),
    ]


def test_nothing_dropped_means_empty_maps() -> None:
    """A service that accepts everything has no element, not even for embedded ranges."""
    assert maps(policy(service())) == ([], [])


def test_never_drop_is_carved_out() -> None:
    """Inside a denied country a never-drop prefix has its own target, which still knows what an embedded use means."""
    ipv4, _ = maps(policy(service(deny=["UA"]), never_drop=["30.128.0.0/16"]))
    assert ipv4 == [
        ("30.0.0.0", 1 << 23, "drop UA"),
        ("30.128.0.0", 1 << 16, "never-drop UA"),
        ("30.129.0.0", (1 << 23) - (1 << 16), "drop UA"),
    ]


def test_special_is_there_only_for_its_embedded_use() -> None:
    """With `unknown: deny` a special IPv4 address inside an IPv6 one is dropped, while on the wire it is accepted."""
    ipv4, ipv6 = maps(policy(service(allow=["UA", "US"], default=Verdict.DROP, unknown=Verdict.DROP)))
    assert ("10.0.0.0", 1 << 24, "special unknown") in ipv4
    assert ipv4[-1] == ("31.0.0.0", (256 - 31) << 24, "drop unknown")
    assert ipv6[-1][1] == 0  # the end of the family


def test_accepted_prefix_is_a_hole_in_an_embedded_range() -> None:
    """A prefix line of the IPv6 address comes before the IPv4 address inside it."""
    _, ipv6 = maps(policy(service(deny=["UA"], allow=["64:ff9b::1e00:0/112"])))
    base = 0x64FF9B << 96
    assert ipv6[:2] == [
        (base, base + 0x1E000000, "embeddednat64"),
        (base + 0x1E010000, base + (1 << 32), "embeddednat64"),
    ]
