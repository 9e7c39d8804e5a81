from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane.engine import Scope
from geodrop.dataplane.nftables import lookups, names, program, selectors
from geodrop.dataplane.nftables.expressions import (
    ACCEPT,
    DROP,
    PROHIBITED,
    RESET,
    Count,
    Payload,
    Verdict,
    VerdictMap,
    goto,
    jump,
    text,
)
from geodrop.dataplane.nftables.stamp import Stamp
from geodrop.dataplane.nftables.uapi import PayloadBase, VerdictCode
from geodrop.errors import DataError
from tests.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.dataplane.nftables.model import Chain, Program

WEB = ((443, 443),)
DENIED = {"1.0.1.0/24": "CN", "240e::/20": "CN"}
NOW = 1_700_000_000

EVERYTHING = ruleset(
    Service("rest", {**DENIED, "2002::/16": "6to4"}),
    Service("api", {**DENIED, "9.9.9.0/24": "never-drop else CN", "10.0.0.0/8": "special else unknown"}, tcp=WEB),
    Service("later", DENIED, udp=((67, 67), (500, 540)), starts=NOW + 60),
    Service("trial", DENIED, mode="monitor"),
    Service("try-ping", DENIED, mode="monitor", protocols=(1, 58), established="keep"),
    Service("office", {}, addresses=("203.0.113.0/28",), established="keep"),
)


def chains(built: Program) -> dict[str, Chain]:
    """By name, which must be unique."""
    found = {chain.name: chain for chain in built.chains}
    assert len(found) == len(built.chains)
    return found


def shown(chain: Chain) -> list[str]:
    """Each rule's end and comment, for assertions that read well."""
    return [f"{rule.expressions[-1]} # {rule.comment}" for rule in chain.rules]


def reachable(built: Program, start: str) -> set[str]:
    """Chains that a packet can come through, from one on."""
    by_name, found, todo = chains(built), set(), [start]
    targets = {map_.header.name: {verdict.chain for verdict in map_.content.verdicts} for map_ in built.maps}
    while todo:
        name = todo.pop()
        if name in found or not name:
            continue
        found.add(name)
        for rule in by_name[name].rules:
            for part in rule.expressions:
                if isinstance(part, VerdictMap):
                    todo += targets[part.name]
                if isinstance(part, Verdict):
                    todo.append(part.chain)
    return found


def parts(built: Program) -> Iterator[tuple[str, object]]:
    """Every expression, with its chain."""
    return ((chain.name, part) for chain in built.chains for rule in chain.rules for part in rule.expressions)


def test_everything_named_is_there() -> None:
    """Chains, maps and counters; and no chain is there that nothing leads to."""
    built = program.build(EVERYTHING, 7, ["eth0"], NOW)
    maps = {map_.header.name for map_ in built.maps}
    for _, part in parts(built):
        if isinstance(part, VerdictMap):
            assert part.name in maps
        if isinstance(part, Count):
            assert part.name in built.counters
            assert names.counter(part.name)
    assert reachable(built, "g7") == set(chains(built))


def test_everything_carries_its_generation() -> None:
    """What is not named so is not found as a leftover."""
    built = program.build(EVERYTHING, 7, ["eth0"], NOW)
    assert {names.generation_of(name) for name in chains(built)} == {7}
    assert {names.generation_of(map_.header.name) for map_ in built.maps} == {7}


def test_later_fragments_meet_no_rule_that_reads_a_header() -> None:
    """The kernel would read their data as one; and they are led away before any rule that reads one."""
    built = program.build(EVERYTHING, 7, ["eth0"], NOW)
    aside = reachable(built, "g7.fragments")
    for chain, part in parts(built):
        if chain in aside:
            assert not (isinstance(part, Payload) and part.base is PayloadBase.TRANSPORT)
    first, second = chains(built)["g7"].rules[:2]
    assert first.expressions == (*selectors.later_fragment(4), goto("g7.fragments"))
    assert second.expressions == (*selectors.later_fragment(6), goto("g7.fragments"))


def test_later_fragments_pass_where_every_service_has_ports() -> None:
    """There is nothing to judge them by."""
    built = program.build(ruleset(Service("api", DENIED, tcp=WEB, established="keep")), 7, ["eth0"], NOW)
    assert [rule.expressions[-1] for rule in chains(built)["g7"].rules[:2]] == [ACCEPT, ACCEPT]
    assert "g7.fragments" not in chains(built)


def test_a_service_that_goes_by_port_alone_is_looked_up_at_the_entry() -> None:
    """Behind the check for later fragments; both protocols in one rule, and only one for each map."""
    built = program.build(ruleset(Service("api", DENIED, tcp=WEB, udp=WEB)), 7, ["eth0"], NOW)
    _, _, ipv4, ipv6, rest = chains(built)["g7"].rules
    ports = selectors.destination_ports([6, 17], WEB)
    for family, rule in ((4, ipv4), (6, ipv6)):
        own = (*selectors.family(family), *ports, selectors.SOURCE[family], VerdictMap(f"g7-api.ipv{family}"))
        assert rule.expressions == own
    assert rest.expressions == (*ports, goto("g7-api"))
    [accepted] = chains(built)["g7-api"].rules
    assert accepted.expressions == (goto("g7-api.accepted"),)


def test_services_that_cannot_be_looked_up_at_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a rule stands before the maps, or several maps, or where `return` must lead back to other services."""
    for more in ({"established": "keep"}, {"mode": "monitor"}, {"protocols": (1,)}, {"tcp": ((22, 443),)}):
        service = Service("api", DENIED, **{"tcp": WEB, **more})  # type: ignore[arg-type]
        built = program.build(ruleset(service), 7, ["eth0"], NOW)
        assert not any(isinstance(part, VerdictMap) for chain, part in parts(built) if chain == "g7")
    monkeypatch.setattr(lookups, "MAX_INTERVALS", 1)
    built = program.build(ruleset(Service("api", {**DENIED, "1.0.3.0/24": "CN"}, tcp=WEB)), 7, ["eth0"], NOW)
    assert not any(isinstance(part, VerdictMap) for chain, part in parts(built) if chain == "g7")


def test_order_of_services() -> None:
    """Those that only look come first, catch-alls last; who looks gives the packet back."""
    built = program.build(EVERYTHING, 7, ["eth0"], NOW)
    ends = [rule.expressions[-1] for rule in chains(built)["g7"].rules[2:]]
    assert list(dict.fromkeys(ends)) == [
        jump("g7-try-ping"),
        VerdictMap("g7-api.ipv4"),
        VerdictMap("g7-api.ipv6"),
        goto("g7-api"),
        goto("g7-later"),
        goto("g7-office"),
        jump("g7-trial"),
        goto("g7-rest"),
    ]
    assert [rule.expressions[-1] for rule in chains(built)["g7.fragments"].rules] == [
        *[jump("g7-try-ping.fragments")] * 2,  # by family: IPv6 names the protocol in the fragment header
        goto("g7-office.fragments"),
        jump("g7-trial.fragments"),
        goto("g7-rest.fragments"),
    ]


@pytest.mark.parametrize("service", ["trial", "try-ping"])
def test_monitor_never_decides(service: str) -> None:
    """Nothing that a service in monitor leads to accepts or drops; nor does it come back into its own chain."""
    built = program.build(EVERYTHING, 7, ["eth0"], NOW)
    for name in reachable(built, f"g7-{service}") | reachable(built, f"g7-{service}.fragments"):
        for rule in chains(built)[name].rules:
            last = rule.expressions[-1]
            leads_on = isinstance(last, Verdict) and last.code in {VerdictCode.GOTO, VerdictCode.RETURN}
            assert isinstance(last, VerdictMap) or leads_on


def test_enforced_services_always_decide() -> None:
    """From the service's chain no packet comes back, but from the rules before the maps."""
    built = program.build(EVERYTHING, 7, ["eth0"], NOW)
    for service in ("rest", "later", "office"):
        for name in reachable(built, f"g7-{service}"):
            last = chains(built)[name].rules[-1].expressions[-1]
            assert last in {ACCEPT, DROP} or last.code is VerdictCode.GOTO or name.endswith(".control")  # type: ignore[union-attr]


def test_a_service_for_tcp_carries_no_rules_for_the_rest() -> None:
    """The way of a dropped packet is: no later fragment, port, map; family, counter, drop; IPv6 asks for it once."""
    built = program.build(ruleset(Service("api", DENIED, tcp=WEB)), 7, ["eth0"], NOW)
    assert [str(rule.expressions[-1]) for rule in chains(built)["g7"].rules] == [
        "accept",
        "accept",
        "vmap @g7-api.ipv4",
        "vmap @g7-api.ipv6",
        "goto g7-api",
    ]
    assert [text(rule.expressions) for rule in chains(built)["g7-api.CN.ipv4"].rules] == [
        "meta nfproto, eq 0x02, counter api.CN.ipv4.dropped, drop",
        "goto g7-api.CN.ipv6",
    ]
    assert [text(rule.expressions) for rule in chains(built)["g7-api.CN.ipv6"].rules] == [
        "counter api.CN.ipv6.dropped, drop"
    ]
    denied = {"g7-api.CN.ipv4", "g7-api.CN.ipv6"}
    assert set(chains(built)) == {"g7", "g7-api", "g7-api.accepted", *denied}


def test_never_drop_ports_only_where_they_can_match() -> None:
    """tcp/22 stands before a catch-all and before a service whose ports include it."""
    rules = ruleset(
        Service("api", DENIED, tcp=((20, 30),)), Service("rest", DENIED), Service("dns", {}, udp=((53, 53),))
    )
    built = program.build(rules, 7, ["eth0"], NOW)
    for service, there in (("api", True), ("rest", True), ("dns", False)):
        comments = [rule.comment for rule in chains(built)[f"g7-{service}"].rules]
        assert ("never-drop ports" in comments) is there
    [rule] = [rule for rule in chains(built)["g7-api"].rules if rule.comment == "never-drop ports"]
    assert rule.expressions == (*selectors.destination_ports([6], [(22, 22)]), goto("g7-api.never-drop"))


def test_control_traffic_only_where_it_can_match() -> None:
    """A service for udp/67 can take DHCP to a server, and nothing else of rung 2."""
    built = program.build(EVERYTHING, 7, ["eth0"], NOW)
    assert [rule.comment for rule in chains(built)["g7-later.control"].rules] == ["DHCP"]
    assert [rule.comment for rule in chains(built)["g7-rest.control"].rules] == [
        "ICMP errors",
        "ICMPv6 errors",
        "neighbour discovery",
        *["DHCP"] * 4,
    ]
    assert "g7-api.control" not in chains(built)


def test_never_drop_prefixes_count_before_rung_2_and_open_connections() -> None:
    """Rung 1 comes first: what lets packets through ahead of the maps asks a small map of these prefixes before."""
    denied = {**DENIED, "9.9.9.0/24": "never-drop else CN", "2a00::/16": "never-drop"}
    rules = ruleset(
        Service("rest", denied),
        Service("kept", denied, tcp=WEB, established="keep"),
        Service("cut", denied, tcp=((80, 80),)),
        Service("trial", denied, mode="monitor", established="keep"),
    )
    built = program.build(rules, 7, ["eth0"], NOW)
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
    assert shown(by_name["g7-trial"])[1:3] == [
        "vmap @g7-trial.never-drop.ipv4 # ",
        "vmap @g7-trial.never-drop.ipv6 # ",
    ]
    contents = {map_.header.name: map_.content for map_ in built.maps}
    assert not any("g7-cut.never-drop" in name for name in contents)
    small = contents["g7-kept.never-drop.ipv4"]
    assert (bytes(small.starts), bytes(small.ends)) == (bytes([9, 9, 9, 0]), bytes([9, 9, 10, 0]))
    assert {small.verdicts[target] for target in small.targets} == {goto("g7-kept.never-drop")}


def test_starts() -> None:
    """The kernel's clock decides, whatever the clock of the load said. A service in monitor waits for nothing."""
    ahead = chains(program.build(EVERYTHING, 7, ["eth0"], NOW))
    waiting = chains(
        program.build(ruleset(Service("trial", DENIED, mode="monitor", starts=NOW + 60)), 7, ["eth0"], NOW)
    )
    for family, selector, more in (("ipv4", selectors.family(4), 1), ("ipv6", (), 0)):
        rules = ahead[f"g7-later.CN.{family}"].rules
        assert [rule.expressions[: len(selector)] for rule in rules[:2]] == [selector, selector]
        assert [text(rule.expressions[len(selector) :]) for rule in rules[:2]] == [
            f"{text(selectors.before(NOW + 60))}, counter later.CN.{family}.would_drop, accept",
            f"counter later.CN.{family}.dropped, drop",
        ]
        assert len(rules) == 2 + more
        assert "would_drop, return" in text(waiting[f"g7-trial.CN.{family}"].rules[0].expressions)


def test_nothing_but_the_stamp_depends_on_the_clock_of_the_load() -> None:
    """A host whose clock is a month ahead at boot, or at 1970, loads the same rules: the clock may be set right."""
    right, ahead, behind = (program.build(EVERYTHING, 7, ["eth0"], now) for now in (NOW, NOW + 30 * 86_400, 0))
    for wrong in (ahead, behind):
        stamped = chains(wrong)["g7"]
        assert stamped.comment != chains(right)["g7"].comment
        same = replace(stamped, comment=chains(right)["g7"].comment)
        assert {**chains(wrong), "g7": same} == chains(right)
        assert (wrong.maps, wrong.counters, wrong.switch) == (right.maps, right.counters, right.switch)


def test_one_element_for_an_address_and_for_the_same_inside_ipv6() -> None:
    """On the wire it is never dropped, or special; embedded it is judged."""
    by_name = chains(program.build(EVERYTHING, 7, ["eth0"], NOW))
    assert shown(by_name["g7-api.never-drop-else-CN"]) == ["goto g7-api.never-drop # ", "goto g7-api.CN.ipv6 # "]
    assert shown(by_name["g7-api.special-else-unknown"]) == ["goto g7-api.accepted # ", "goto g7-api.unknown.ipv6 # "]
    for name in ("g7-api.never-drop-else-CN", "g7-api.special-else-unknown"):
        assert by_name[name].rules[0].expressions[:2] == selectors.family(4)


def test_an_embedding_in_the_ipv4_map_is_refused() -> None:
    """No compiler writes that; root should not believe a file that says so."""
    with pytest.raises(DataError, match="damaged ruleset"):
        program.build(ruleset(Service("api", {"1.0.0.0/8": "6to4"})), 7, ["eth0"], NOW)


def test_the_switch() -> None:
    """One rule an interface, counted, in an order of their own; the same twice is once."""
    rules = program.switch(7, Scope(("eth1", "eth0", "eth1")))
    assert [selectors.interface_name(rule.expressions[:-1]) for rule in rules] == ["eth0", "eth1"]
    assert [rule.comment for rule in rules] == ["interface 1 of 2", "interface 2 of 2"]
    assert {rule.expressions[-1] for rule in rules} == {goto("g7")}


def test_what_xdp_judges_passes_first() -> None:
    """Exempt interfaces come before any name that might cover them; a reason is said, and read back from the rule."""
    reason = "the interface takes none: " + "é" * 100
    exempt, named, waiting = program.switch(7, Scope(("eth1", "eth*"), (3,), {"eth1": reason}))
    assert (selectors.number_of(exempt.expressions[:-1]), exempt.expressions[-1]) == (3, ACCEPT)
    assert [rule.comment for rule in (exempt, named)] == ["judged by xdp", "interface 1 of 2"]
    assert program.reason_in(named.comment) == ""
    assert len(waiting.comment.encode()) <= program.COMMENT_BYTES
    said = program.reason_in(waiting.comment)
    assert said.endswith("...")
    assert reason.startswith(said[:-3])


def test_the_stamp() -> None:
    """The generation chain tells generation, digest and when `starts` was looked at."""
    entry = chains(program.build(EVERYTHING, 7, ["eth0"], NOW))["g7"]
    assert Stamp.parse(entry.comment) == Stamp(7, EVERYTHING.digest, NOW)


def test_the_same_arguments_give_the_same_program() -> None:
    """`verify` builds it anew and compares."""
    one, other = (program.build(EVERYTHING, 7, ["eth0"], NOW) for _ in range(2))
    assert (one.chains, one.counters, one.switch) == (other.chains, other.counters, other.switch)
    assert [map_.header for map_ in one.maps] == [map_.header for map_ in other.maps]


def test_reject_takes_the_place_of_the_drop() -> None:
    """The packet is counted where it was, then its sender is told; where it is only counted, nothing changes."""
    services = (
        Service("api", DENIED, tcp=WEB, action="reject"),
        Service("trial", DENIED, mode="monitor", action="reject"),
        Service("rest", DENIED, starts=NOW + 60),
    )
    built = chains(program.build(ruleset(*services), 7, ["eth0"], NOW))
    [dropped] = built["g7-api.CN.ipv6"].rules
    assert dropped.expressions == (Count("api.CN.ipv6.dropped"), goto("g7-api.reject"))
    assert [rule.expressions for rule in built["g7-api.reject"].rules] == [
        (*selectors.protocols([6]), RESET),
        (PROHIBITED,),
    ]
    assert [name for name in built if name.endswith(".reject")] == ["g7-api.reject"]
