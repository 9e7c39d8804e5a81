# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address

import pytest

from geodrop.errors import DataError
from geodrop.nftables import lookups, matches, render
from geodrop.nftables.netlink.expressions import (
    DROP,
    PROHIBITED,
    RESET,
    RETURN,
    NamedCounter,
    RuleVerdict,
    VerdictMap,
    goto,
    text,
)
from geodrop.nftables.netlink.uapi import VerdictCode
from geodrop.nftables.transport import PROTECTED, VISIBLE
from tests.support.programs import DENIED, EVERYTHING, NOW, WEB, chains, parts, reachable, shown
from tests.support.rulesets import Service, ruleset


def test_a_service_that_goes_by_port_alone_is_looked_up_at_the_entry() -> None:
    """The lookup follows the check for later fragments; both protocols share one rule for each map."""
    built = render.build(ruleset(Service("api", DENIED, tcp=WEB, udp=WEB)), 7, ["eth0"], NOW)
    _, _, ipv4, ipv6, rest, *_ = chains(built)["g7"].rules
    ports = VISIBLE.destination_ports([6, 17], WEB)
    for family, rule in ((4, ipv4), (6, ipv6)):
        own = (*matches.family(family), *ports, matches.SOURCE[family], VerdictMap(f"g7-api.ipv{family}"))
        assert rule.expressions == own
    assert rest.expressions == (*ports, goto("g7-api"))
    [accepted] = chains(built)["g7-api"].rules
    assert accepted.expressions == (goto("g7-api.accepted"),)


def test_services_that_cannot_be_looked_up_at_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not looked up at the entry: a service with a rule before its maps, with several maps, or in monitor (must
    return).
    """
    for more in ({"established": "keep"}, {"mode": "monitor"}, {"protocols": (1,)}, {"tcp": ((22, 443),)}):
        service = Service("api", DENIED, **{"tcp": WEB, **more})  # type: ignore[arg-type]
        built = render.build(ruleset(service), 7, ["eth0"], NOW)
        assert not any(isinstance(part, VerdictMap) for chain, part in parts(built) if chain == "g7")
    monkeypatch.setattr(lookups, "MAX_INTERVALS", 1)
    built = render.build(ruleset(Service("api", {**DENIED, "1.0.3.0/24": "CN"}, tcp=WEB)), 7, ["eth0"], NOW)
    assert not any(isinstance(part, VerdictMap) for chain, part in parts(built) if chain == "g7")


@pytest.mark.parametrize("service", ["trial", "try-ping"])
def test_monitor_never_decides(service: str) -> None:
    """No chain of a service in monitor accepts or drops, and none leads back into the service's own chain."""
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    for name in reachable(built, f"g7-{service}") | reachable(built, f"g7-{service}.ah"):
        for rule in chains(built)[name].rules:
            last = rule.expressions[-1]
            leads_on = isinstance(last, RuleVerdict) and last.code in {VerdictCode.GOTO, VerdictCode.RETURN}
            assert isinstance(last, VerdictMap) or leads_on


def test_accepted_packets_return_to_the_chain_that_led_them_here() -> None:
    """No rule jumps within a service, so `return` leaves it: to the next service, or to the base chain."""
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    for service in EVERYTHING.meta.services:
        for name in reachable(built, f"g7-{service.name}") | reachable(built, f"g7-{service.name}.ah"):
            ends = [rule.expressions[-1] for rule in chains(built)[name].rules]
            assert {end.code for end in ends if isinstance(end, RuleVerdict)} <= {
                VerdictCode.GOTO,
                VerdictCode.RETURN,
                VerdictCode.DROP,
            }
            assert isinstance(ends[-1], RuleVerdict)


def test_a_service_for_tcp_carries_no_rules_for_the_rest() -> None:
    """A dropped packet passes: later-fragment check, port, map; then the set of exempt sources, counter, drop."""
    built = render.build(ruleset(Service("api", DENIED, tcp=WEB)), 7, ["eth0"], NOW)
    assert [str(rule.expressions[-1]) for rule in chains(built)["g7"].rules][2:5] == [
        "vmap @g7-api.ipv4",
        "vmap @g7-api.ipv6",
        "goto g7-api",
    ]
    for version, key in ((4, "12"), (6, "8")):
        [exempt, dropped] = chains(built)[f"g7-api.CN.ipv{version}"].rules
        assert text(exempt.expressions) == (
            f"{text(matches.family(version))}, {4 if version == 4 else 16} bytes at network header + {key}, "
            f"in @exempt-ipv{version}, counter api.ipv{version}.exempted, return"
        )
        assert text(dropped.expressions) == f"counter api.CN.ipv{version}.dropped, drop"
    denied = {"g7-api.CN.ipv4", "g7-api.CN.ipv6"}
    assert reachable(built, "g7-api") | denied == {"g7-api", "g7-api.accepted", *denied}
    assert {name for name in chains(built) if "-api" in name} == {
        "g7-api",
        "g7-api.accepted",
        "g7-api.source",  # unreadable packets
        "g7-api.ah.6",  # tcp/443 behind an authentication header
        *denied,
    }


def test_never_drop_ports_only_where_they_can_match() -> None:
    """tcp/22 is checked before a catch-all and before a service whose ports include it."""
    rules = ruleset(
        Service("api", DENIED, tcp=((20, 30),)), Service("rest", DENIED), Service("dns", {}, udp=((53, 53),))
    )
    built = render.build(rules, 7, ["eth0"], NOW)
    for service, there in (("api", True), ("rest", True), ("dns", False)):
        comments = [rule.comment for rule in chains(built)[f"g7-{service}"].rules]
        assert ("never-drop ports" in comments) is there
    [rule] = [rule for rule in chains(built)["g7-api"].rules if rule.comment == "never-drop ports"]
    assert rule.expressions == (*VISIBLE.destination_ports([6], [(22, 22)]), goto("g7-api.never-drop"))


def test_control_traffic_only_where_it_can_match() -> None:
    """A service for udp/67 can take DHCP to a server, and nothing else of rung 2."""
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    assert [rule.comment for rule in chains(built)["g7-later.control"].rules] == ["DHCP", ""]
    assert [rule.comment for rule in chains(built)["g7-rest.control"].rules] == [
        "ICMP errors",
        "ICMPv6 errors",
        "neighbour discovery",
        *["DHCP"] * 4,
        "",
    ]
    assert "g7-api.control" not in chains(built)


def test_never_drop_prefixes_count_before_rung_2_and_open_connections() -> None:
    """Rung 1 comes first: rules that accept packets before the main map look up a small map of these prefixes first."""
    denied = {**DENIED, "9.9.9.0/24": "never-drop else CN", "2a00::/16": "never-drop"}
    rules = ruleset(
        Service("rest", denied),
        Service("kept", denied, tcp=WEB, established="keep"),
        Service("cut", denied, tcp=((80, 80),)),
        Service("trial", denied, mode="monitor", established="keep"),
    )
    built = render.build(rules, 7, ["eth0"], NOW)
    by_name = chains(built)
    assert shown(by_name["g7-rest.control"])[:2] == [
        "vmap @g7-rest.never-drop.ipv4 # ",
        "vmap @g7-rest.never-drop.ipv6 # ",
    ]
    assert shown(by_name["g7-kept"])[0] == "goto g7-kept.open # TCP that opens no connection"
    assert shown(by_name["g7-kept.open"]) == [
        "vmap @g7-kept.never-drop.ipv4 # ",
        "vmap @g7-kept.never-drop.ipv6 # ",
        "goto g7-kept.accepted # ",
    ]
    for chain in ("control", "open"):
        assert shown(by_name[f"g7-trial.{chain}"])[:2] == [
            "vmap @g7-trial.never-drop.ipv4 # ",
            "vmap @g7-trial.never-drop.ipv6 # ",
        ]
    contents = {map_.header.name: map_.content for map_ in built.maps}
    assert not any("g7-cut.never-drop" in name for name in contents)
    small = contents["g7-kept.never-drop.ipv4"]
    assert (bytes(small.starts), bytes(small.ends)) == (bytes([9, 9, 9, 0]), bytes([9, 9, 10, 0]))
    assert {small.verdicts[target] for target in small.targets} == {goto("g7-kept.never-drop")}


def test_starts() -> None:
    """The kernel's clock decides, not the clock of the load. `starts` has no effect on a service in monitor."""
    ahead = chains(render.build(EVERYTHING, 7, ["eth0"], NOW))
    waiting = chains(render.build(ruleset(Service("trial", DENIED, mode="monitor", starts=NOW + 60)), 7, ["eth0"], NOW))
    for family in ("ipv4", "ipv6"):
        exempt, *rules = ahead[f"g7-later.CN.{family}"].rules
        assert text(exempt.expressions).endswith(f"in @exempt-{family}, counter later.{family}.exempted, return")
        assert [text(rule.expressions) for rule in rules] == [
            f"{text(matches.before(NOW + 60))}, counter later.CN.{family}.would_drop, return",
            f"counter later.CN.{family}.dropped, drop",
        ]
        assert "would_drop, return" in text(waiting[f"g7-trial.CN.{family}"].rules[1].expressions)


def test_an_address_and_the_same_inside_ipv6() -> None:
    """On the wire the address is never-drop or special; embedded, it is judged. Each case has its own map."""
    embedding = {
        **DENIED,
        "9.9.9.0/24": "never-drop else CN",
        "10.0.0.0/8": "special else unknown",
        "2002::/16": "6to4",
    }
    built = render.build(ruleset(Service("all", embedding), Service("api", DENIED, tcp=WEB)), 7, ["eth0"], NOW)
    said = {
        (map_.header.name, str(ip_address(bytes(map_.content.part(at, at + 1).starts)))): str(
            map_.content.verdicts[map_.content.targets[at]]
        )
        for map_ in built.maps
        for at in range(len(map_.content))
    }
    assert said["g7-all.ipv4", "9.9.9.0"] == "goto g7-all.never-drop"
    assert said["g7-all.inside", "9.9.9.0"] == "goto g7-all.CN.ipv6"
    assert said["g7-all.ipv4", "10.0.0.0"] == "goto g7-all.accepted"
    assert said["g7-all.inside", "10.0.0.0"] == "goto g7-all.unknown.ipv6"
    assert said["g7-all.ipv4", "1.0.1.0"] == "goto g7-all.CN.ipv4"
    assert said["g7-all.inside", "1.0.1.0"] == "goto g7-all.CN.ipv6"
    assert "g7-api.inside" not in {map_.header.name for map_ in built.maps}  # the service has no embedded addresses


def test_an_embedding_in_the_ipv4_map_is_refused() -> None:
    """No compiler writes this; a privileged process must not believe a file that says so."""
    with pytest.raises(DataError, match="damaged ruleset"):
        render.build(ruleset(Service("api", {"1.0.0.0/8": "6to4"})), 7, ["eth0"], NOW)


def test_reject_takes_the_place_of_the_drop() -> None:
    """The packet is counted as before, then its sender is told; in monitor nothing changes."""
    services = (
        Service("api", DENIED, tcp=WEB, action="reject"),
        Service("trial", DENIED, mode="monitor", action="reject"),
        Service("rest", DENIED, starts=NOW + 60),
    )
    built = chains(render.build(ruleset(*services), 7, ["eth0"], NOW))
    [_exempt, dropped] = built["g7-api.CN.ipv6"].rules
    assert dropped.expressions == (NamedCounter("api.CN.ipv6.dropped"), goto("g7-api.reject"))
    assert [rule.expressions for rule in built["g7-api.reject"].rules] == [
        (*VISIBLE.protocols([6]), RESET),
        (PROHIBITED,),
    ]
    assert [name for name in built if name.endswith(".reject")] == ["g7-api.reject"]


def test_behind_an_authentication_header_what_is_not_for_the_service_turns_round() -> None:
    """One way leads on to the maps, whatever the header's length: a kernel may walk the maps once for each way."""
    rules = ruleset(
        Service("api", DENIED, tcp=WEB, udp=((500, 501),)), Service("trial", DENIED, mode="monitor", tcp=WEB)
    )
    built = chains(render.build(rules, 7, ["eth0"], NOW))
    for chain, end in (
        ("g7-api.ah.6", ["jump g7-api.source", "accept"]),
        ("g7-api.ah.17", ["jump g7-api.source", "accept"]),
        ("g7-trial.ah.6", ["goto g7-trial"]),
    ):
        ends = [str(rule.expressions[-1]) for rule in built[chain].rules]
        assert ends == [*["return"] * len(PROTECTED), *end]


def test_rungs_1_and_2_and_open_connections_behind_an_authentication_header() -> None:
    """At every length: never-drop ports, then never-drop prefixes, then the rest; finally the source."""
    denied = {**DENIED, "9.9.9.0/24": "never-drop"}
    built = chains(render.build(ruleset(Service("rest", denied, established="keep")), 7, ["eth0"], NOW))
    lengths = len(PROTECTED)
    control = ["ICMP errors", "ICMPv6 errors", "neighbour discovery", *["DHCP"] * 4]
    control += ["TCP that opens no connection"] * 2  # ACK set, and SYN not set
    assert [rule.comment for rule in built["g7-rest.ah"].rules] == [
        *["never-drop ports"] * lengths,
        "",  # the map of never-drop prefixes
        *control * lengths,
        "",
    ]
    assert built["g7-rest.ah"].rules[-1].expressions == (goto("g7-rest.source"),)


def test_a_service_that_takes_authentication_headers_takes_what_they_protect() -> None:
    """A never-drop port counts behind the header, though the service takes no such port without it."""
    built = chains(render.build(ruleset(Service("ipsec", DENIED, protocols=(51,))), 7, ["eth0"], NOW))
    assert "never-drop ports" in [rule.comment for rule in built["g7-ipsec.ah"].rules]
    assert "never-drop ports" not in [rule.comment for rule in built["g7-ipsec"].rules]


JOINED = ruleset(
    Service(
        "api",
        {"1.0.0.0/8": "other", "9.9.9.0/24": "never-drop else other", "240e::/20": "other", "2002::/16": "6to4"},
        tcp=WEB,
        starts=NOW + 60,
        counted={"1.0.1.0/24": "CN", "1.0.2.0/24": "RU"},
    )
)


def test_regions_are_told_apart_by_what_is_dropped_anyhow() -> None:
    """The chain for `other` gets one more rule; a family without regions, and IPv4 inside IPv6, keep counting as
    `other`.
    """
    before, after = (chains(render.build(JOINED, 7, ["eth0"], NOW, regions=regions)) for regions in (False, True))
    asks, *rest = after["g7-api.other.ipv4"].rules
    assert asks.expressions == (*matches.family(4), matches.SOURCE[4], VerdictMap("g7-api.regions.ipv4"))
    assert rest == list(before["g7-api.other.ipv4"].rules)
    assert after.keys() - before.keys() == {"g7-api.CN.ipv4", "g7-api.RU.ipv4"}
    for name, chain in before.items():
        assert name == "g7-api.other.ipv4" or after[name] == chain
    [_exempt, ahead, drop] = after["g7-api.CN.ipv4"].rules
    assert (ahead.expressions[-2:], drop.expressions[-2:]) == (
        (NamedCounter("api.CN.ipv4.would_drop"), RETURN),
        (NamedCounter("api.CN.ipv4.dropped"), DROP),
    )


def test_counters_of_regions_are_there_from_the_start() -> None:
    """Totals that continue after a flush do not wait for the second map."""
    bare, told = (render.build(JOINED, 7, ["eth0"], NOW, regions=regions).counters for regions in (False, True))
    assert bare == told
    assert {"api.CN.ipv4.dropped", "api.RU.ipv4.dropped", "api.other.ipv6.dropped"} <= set(bare)
