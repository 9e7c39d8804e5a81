# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.nftables import matches, render
from geodrop.nftables.netlink.expressions import ACCEPT, RETURN, Payload, RuleVerdict, VerdictMap, goto, jump, text
from geodrop.nftables.netlink.uapi import PayloadBase
from tests.support.programs import DENIED, EVERYTHING, NOW, WEB, chains, led_to, parts, reachable
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from geodrop.nftables.model import Program


def test_later_fragments_meet_no_rule_that_reads_a_header() -> None:
    """Later fragments are led away before any rule reads a header, since the kernel would read their data as one."""
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    aside = reachable(built, "g7.fragments")
    for chain, part in parts(built):
        if chain in aside:
            assert not (isinstance(part, Payload) and part.base is PayloadBase.TRANSPORT)
    first, second = chains(built)["g7"].rules[:2]
    assert first.expressions == (*matches.later_fragment(4), goto("g7.fragments"))
    assert second.expressions == (*matches.fragmented(), jump("g7.fragmented"))


def test_a_fragment_header_of_ipv6() -> None:
    """A fragment header counts in a later fragment, or as the first header or behind hop-by-hop options; else the
    packet is unreadable.
    """
    built = render.build(ruleset(Service("rest", DENIED)), 7, ["eth0"], NOW)
    assert [text(rule.expressions) for rule in chains(built)["g7.fragmented"].rules] == [
        text((*matches.later_fragment(6), jump("g7.fragments"))),
        text((*matches.later_fragment(6), ACCEPT)),
        *(text((*one, RETURN)) for one in matches.fragmented_in_place()),
        "goto g7.unreadable",
    ]


def test_later_fragments_pass_where_every_service_has_ports() -> None:
    """They cannot be judged without ports. With an authentication header in front, they are unreadable instead."""
    built = render.build(ruleset(Service("api", DENIED, tcp=WEB, established="keep")), 7, ["eth0"], NOW)
    assert [text(rule.expressions) for rule in chains(built)["g7.fragments"].rules] == [
        "meta nfproto, eq 0x0a, meta l4proto, eq 0x33, goto g7.unreadable"
    ]


def test_order_of_services() -> None:
    """Services in monitor come first and return packets; catch-alls come last."""
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    ends = [rule.expressions[-1] for rule in chains(built)["g7"].rules[2:]]
    assert list(dict.fromkeys(ends)) == [
        jump("g7-try-ping"),
        VerdictMap("g7-api.ipv4"),
        VerdictMap("g7-api.ipv6"),
        goto("g7-api"),
        goto("g7-later"),
        goto("g7.readable"),
        goto("g7.portless"),
        goto("g7.ah"),
        goto("g7.unreadable"),
    ]
    assert [rule.expressions[-1] for rule in chains(built)["g7.readable"].rules] == [
        goto("g7-office"),
        jump("g7-trial"),
        goto("g7-rest"),
    ]
    assert [rule.expressions[-1] for rule in chains(built)["g7.fragments"].rules[1:]] == [
        *[jump("g7-try-ping.source")] * 2,  # by family: IPv6 names the protocol in the fragment header
        goto("g7-office.source"),
        jump("g7-trial.source"),
        goto("g7-rest.source"),
    ]


def test_what_cannot_be_read_is_judged_for_every_service() -> None:
    """Every service judges it in turn, those in monitor first, up to a final accept;
    no rule on the way reads a header.
    """
    built = render.build(EVERYTHING, 7, ["eth0"], NOW)
    assert [rule.expressions[-1] for rule in chains(built)["g7.unreadable"].rules] == [
        jump("g7-try-ping.source"),
        jump("g7-trial.source"),
        jump("g7-api.source"),
        jump("g7-later.source"),
        jump("g7-office.source"),
        jump("g7-rest.source"),
        ACCEPT,
    ]
    apart = reachable(built, "g7.unreadable")
    for chain, part in parts(built):
        if chain in apart:
            assert not (isinstance(part, Payload) and part.base is PayloadBase.TRANSPORT)


def test_without_ports_only_services_that_take_the_protocol_judge() -> None:
    """If these are all services, one chain serves; otherwise the protocol has a chain, which checks the protocol."""
    both = render.build(ruleset(Service("api", DENIED, tcp=WEB, udp=WEB)), 7, ["eth0"], NOW)
    assert "g7.portless" not in chains(both)
    mixed = ruleset(Service("api", DENIED, tcp=WEB), Service("ping", DENIED, protocols=(1,)), Service("rest", DENIED))
    built = render.build(mixed, 7, ["eth0"], NOW)
    assert [text(rule.expressions) for rule in chains(built)["g7.portless"].rules] == [
        "meta l4proto, eq 0x06, jump g7-api.source",
        "jump g7-rest.source",
        "accept",
    ]


def test_nothing_is_led_aside_where_the_deciding_service_takes_everything() -> None:
    """Unreadable packets reach a service without ports anyway, if it is alone or behind services in monitor only."""
    rules = ruleset(Service("rest", DENIED), Service("trial", DENIED, mode="monitor", addresses=("203.0.113.0/28",)))
    built = render.build(rules, 7, ["eth0"], NOW)
    assert [rule.expressions[-1] for rule in chains(built)["g7"].rules[2:]] == [
        goto("g7.ah"),
        jump("g7-trial"),
        goto("g7-rest"),
    ]
    assert not {"g7.portless", "g7.readable"} & set(chains(built))
    assert {chain for chain, part in parts(built) if part == goto("g7.unreadable")} == {"g7.fragmented"}


def test_a_service_that_takes_authentication_headers_leaves_none_to_a_catch_all() -> None:
    """Such packets are judged for the header and for what it protects; at the service's addresses no catch-all judges
    them.
    """
    ipsec = Service("ipsec", DENIED, protocols=(51,), addresses=("203.0.113.0/28",))
    rules = ruleset(ipsec, Service("api", DENIED, tcp=WEB), Service("rest", DENIED))
    ends = [rule.expressions[-1] for rule in chains(render.build(rules, 7, ["eth0"], NOW))["g7.ah"].rules]
    assert ends == [
        jump("g7.ah.read"),
        jump("g7-ipsec.ah"),
        jump("g7-api.ah.6"),
        RETURN,
        goto("g7-rest.ah"),
    ]


def ways(built: Program, chain: str, end: str) -> int:
    """Count the ways on which a packet can come from one chain to another."""
    if chain == end:
        return 1
    return sum(
        ways(built, part.chain, end)
        for rule in chains(built)[chain].rules
        for part in rule.expressions
        if isinstance(part, RuleVerdict) and part.chain
    )


def test_few_ways_lead_to_a_map() -> None:
    """Kernels that do not remember which chains they have checked walk the maps once for each way to them."""
    built = render.build(ruleset(Service("api", DENIED, tcp=WEB, udp=WEB)), 7, ["eth0"], NOW)
    assert ways(built, "g7", "g7-api.source") <= 7


def depth(built: Program, chain: str) -> int:
    """Return the number of chains on the longest way from a chain."""
    return 1 + max((depth(built, name) for name in led_to(built, chain)), default=0)


def test_the_kernel_takes_the_longest_way() -> None:
    """The kernel refuses tables in which a way of gotos or jumps is longer than 16 chains (NFT_JUMP_STACK_SIZE)."""
    assert depth(render.build(EVERYTHING, 7, ["eth0"], NOW), "g7") < 15
