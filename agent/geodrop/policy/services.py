# SPDX-License-Identifier: Apache-2.0
"""Parse the `services` section of a policy, and what it shares with `never_drop`: ports and prefixes."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

from geodrop.document import shape
from geodrop.document.keys import Key
from geodrop.document.problems import shown
from geodrop.document.tree import KeyTable
from geodrop.policy import values
from geodrop.policy.expect import EXPECT, parse_expect
from geodrop.policy.lines import parse_line
from geodrop.policy.model import MAX_STEPS, Action, Established, Match, Mode, Ports, Service, Verdict
from geodrop.policy.origins import Written

if TYPE_CHECKING:
    from geodrop.document.problems import Position, ProblemReport
    from geodrop.document.shape import Fields
    from geodrop.document.tree import Node
    from geodrop.policy.model import Line, Network

PORTS = {
    "tcp": Key("TCP ports and ranges, such as `[443, 8000-8099]`"),
    "udp": Key("UDP ports and ranges"),
}

MATCH = {
    "ports": Key("the service is limited to these protocols and ports", PORTS),
    "protocols": Key("more protocols, whole, by name or number; `icmp` is ICMP and ICMPv6"),
    "addresses": Key("local addresses, as on the wire. Left out: every one"),
}

KEYS = {
    "match": Key(
        "which packets it takes. Left out: every packet that no service with `mode: enforce` and a match takes", MATCH
    ),
    "default": Key("`allow` or `deny`, for a region that no line names; required"),
    "unknown": Key("`allow` or `deny`, for sources that no database knows; required"),
    "allow": Key(
        "a list of lines: a country `CN`, a subdivision `UA-43`, `continent:AS`, `territory:NAME`, `atlas:NAME`, "
        "`group:NAME`, `list:NAME`, a prefix or an address"
    ),
    "deny": Key("a list of such lines. The same text in `allow` and `deny` is an error"),
    "mode": Key("`enforce` (default), or `monitor`: count, drop nothing"),
    "starts": Key(
        "a time with its zone. Until then the service only counts, whatever `mode` says; the kernel's clock decides"
    ),
    "share": Key(
        "such as `10%`: of the sources that would be dropped only these are, the same ones on every host; the rest "
        "counts as would-drop"
    ),
    "ramp": Key(
        "times with a share each, `{2024-07-09T00:00:00Z: 1%, 2024-07-10T00:00:00Z: 100%}`: only upwards; before the "
        "first one nothing is dropped"
    ),
    "established": Key("`cut` (default), or `keep`: of TCP only openings (SYN without ACK) are judged"),
    "action": Key("`drop` (default), or `reject`: the sender is told, see below. nftables only"),
    "expect": Key("tests of the policy, see below. One that fails refuses the ruleset (78)", EXPECT),
}

REQUIRED = {"default": "regions that no line names", "unknown": "sources that no database knows"}

TCP = 6
UDP = 17


def parse_service(report: ProblemReport, name: str, place: Position, node: Node) -> tuple[Service, Written]:
    """Parse a service; return it with the places of its keys and whether its match could be read.

    Each value that cannot be read is reported and replaced by a default; a policy with errors is never used.
    """
    given = shape.fields(report, node, f"service {shown(name)}", KEYS)
    before = report.errors
    match = _match(report, given.nodes["match"], given.what) if "match" in given.nodes else Match(Ports())
    readable = report.errors == before
    for key, meaning in REQUIRED.items():
        if key not in given.nodes and isinstance(node, KeyTable):
            message = f"{given.what} has no {key}, the verdict for {meaning}; write  {key}: allow  or  {key}: deny"
            report.error(place, message)
    service = Service(
        name=name,
        place=place,
        match=match,
        default=given.value("default", values.parse_verdict) or Verdict.ACCEPT,
        unknown=given.value("unknown", values.parse_verdict) or Verdict.ACCEPT,
        allow=_lines(given, "allow"),
        deny=_lines(given, "deny"),
        mode=given.choice("mode", Mode) or Mode.ENFORCE,
        starts=given.value("starts", values.parse_start),
        ramp=_ramp(given),
        established=given.choice("established", Established) or Established.CUT,
        action=given.choice("action", Action) or Action.DROP,
        expect=parse_expect(report, given.nodes["expect"], given.what) if "expect" in given.nodes else (),
        default_at=_line_of(given, "default"),
        unknown_at=_line_of(given, "unknown"),
    )
    _check_ramp(service, given)
    if service.starts and service.mode is Mode.MONITOR:
        message = f"starts of {given.what} changes nothing while its mode is monitor; remove one of the two"
        report.warning(given.nodes["starts"].place, message)
    if service.established is Established.KEEP and readable and not _takes_tcp(match):
        message = f"established of {given.what} changes nothing, since it takes no TCP; remove it"
        report.warning(given.nodes["established"].place, message)
    return service, Written({key: value.place for key, value in given.nodes.items()}, readable)


def _ramp(given: Fields) -> tuple[tuple[int, int], ...]:
    """Return the ramp of `ramp`, or the one that `share` stands for; without mistakes only."""
    if "ramp" not in given.nodes:
        share = given.value("share", values.parse_share)
        return () if share is None else ((0, share),)
    steps: list[tuple[int, int]] = []
    found = shape.table(given.report, given.nodes["ramp"], f"ramp of {given.what}")
    for key, node in found.entries if found else ():
        moment = shape.value(given.report, key, f"time in ramp of {given.what}", values.parse_start)
        share = shape.value(given.report, node, f"share in ramp of {given.what}", values.parse_share)
        if moment is None or share is None:
            continue
        step = int(moment.timestamp()), share
        if steps and (step[0] <= steps[-1][0] or step[1] <= steps[-1][1]):
            message = f"ramp of {given.what} must go upwards, in time and in share; put the steps in order"
            given.report.error(key.place, message)
        steps.append(step)
    place = given.nodes["ramp"].place
    if found and not found.entries:
        given.report.error(place, f"ramp of {given.what} has no step; write {{2024-07-09T00:00:00Z: 1%}}")
    if len(steps) > MAX_STEPS:
        given.report.error(
            place, f"ramp of {given.what} has {len(steps)} steps, {MAX_STEPS} is the most; leave some out"
        )
    return tuple(steps)


def _check_ramp(service: Service, given: Fields) -> None:
    for key, other in (("ramp", "share"), ("ramp", "starts"), ("share", "starts")):
        if key in given.nodes and other in given.nodes:
            message = f"{given.what} has both {key} and {other}; write one of the two"
            given.report.error(given.nodes[key].place, message)
    if service.ramp and service.mode is Mode.MONITOR:
        key = "ramp" if "ramp" in given.nodes else "share"
        message = f"{key} of {given.what} changes nothing while its mode is monitor; remove one of the two"
        given.report.warning(given.nodes[key].place, message)


def _line_of(given: Fields, key: str) -> int:
    return given.nodes[key].place.line if key in given.nodes else 0


def _lines(given: Fields, key: str) -> tuple[Line, ...]:
    return parse_lines(given.report, given.nodes[key], f"{key} of {given.what}") if key in given.nodes else ()


def parse_lines(report: ProblemReport, node: Node, what: str) -> tuple[Line, ...]:
    """Parse the lines of `allow`, `deny` or a group; a duplicate line is dropped, with a warning."""
    lines: dict[tuple[str, str], Line] = {}
    for item in shape.listing(report, node, what):
        line = shape.value(report, item, f"entry of {what}", partial(parse_line, place=item.place))
        if line is None:
            continue
        if (line.kind, line.name) in lines:
            first = lines[line.kind, line.name]
            report.warning(line.place, f"{line.text} is in {what} twice, first in line {first.place.line}; remove one")
        lines.setdefault((line.kind, line.name), line)
    return tuple(lines.values())


def parse_prefixes(report: ProblemReport, node: Node, what: str) -> tuple[Network, ...]:
    """Parse prefixes and addresses; return them without duplicates, in the order written."""
    return tuple(placed_prefixes(report, node, what))


def placed_prefixes(report: ProblemReport, node: Node, what: str) -> dict[Network, Position]:
    """Parse prefixes and addresses; return each with the first place that names it."""
    placed: dict[Network, Position] = {}
    for item in shape.listing(report, node, what):
        network = shape.value(report, item, f"entry of {what}", values.parse_prefix)
        if network is not None:
            placed.setdefault(network, item.place)
    return placed


def parse_ports(report: ProblemReport, node: Node, what: str) -> Ports:
    """Parse a table of port lists, by protocol."""
    given = shape.fields(report, node, what, PORTS)
    ranges = {}
    for protocol, item in given.nodes.items():
        written = shape.values(report, item, f"{protocol} {what}", values.parse_ports)
        ranges[protocol] = values.merged(written)
    return Ports(**ranges)


def _match(report: ProblemReport, node: Node, what: str) -> Match:
    given = shape.fields(report, node, f"match of {what}", MATCH)
    before = report.errors
    ports = Ports()
    protocols: tuple[int, ...] = ()
    addresses: tuple[Network, ...] = ()
    if "ports" in given.nodes:
        ports = parse_ports(report, given.nodes["ports"], f"ports of {what}")
    if "protocols" in given.nodes:
        named = shape.values(report, given.nodes["protocols"], f"protocols of {what}", values.parse_protocol)
        protocols = tuple(sorted({number for numbers in named for number in numbers}))
    if "addresses" in given.nodes:
        addresses = _collapsed(parse_prefixes(report, given.nodes["addresses"], f"addresses of {what}"))
    for key, found in (("ports", ports), ("protocols", protocols), ("addresses", addresses)):
        if key in given.nodes and not found and report.errors == before:
            # An empty list would mean every packet, which is hardly intended.
            message = f"{key} of {what}: there are none; write at least one, or remove the key to take all"
            report.error(given.nodes[key].place, message)
    for number, ranges, word in ((TCP, ports.tcp, "tcp"), (UDP, ports.udp, "udp")):
        if number in protocols and ranges:
            message = f"{what} takes {word} whole, so its {word} ports change nothing; remove one of the two"
            report.warning(given.nodes["protocols"].place, message)
    return Match(ports, protocols, addresses)


def _collapsed(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    """Return the networks disjoint and sorted, IPv4 first."""
    return (
        *collapse_addresses(network for network in networks if isinstance(network, IPv4Network)),
        *collapse_addresses(network for network in networks if isinstance(network, IPv6Network)),
    )


def _takes_tcp(match: Match) -> bool:
    return bool(match.ports.tcp) or TCP in match.protocols or not (match.ports or match.protocols)
