# SPDX-License-Identifier: Apache-2.0
"""Read the parts of an nftables program, and what leads where in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.nftables.netlink.expressions import RuleVerdict, VerdictMap
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.nftables.model import Chain, Program

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
    """Return the part with a name, which must be unique."""
    found = {chain.name: chain for chain in built.chains}
    assert len(found) == len(built.chains)
    return found


def shown(chain: Chain) -> list[str]:
    """Return each rule's end and comment, for readable assertions."""
    return [f"{rule.expressions[-1]} # {rule.comment}" for rule in chain.rules]


def reachable(built: Program, start: str) -> set[str]:
    """Return the chains that a packet can reach from a chain."""
    found: set[str] = set()
    todo = [start]
    while todo:
        if (name := todo.pop()) not in found and name in chains(built):
            found.add(name)
            todo += led_to(built, name)
    return found


def led_to(built: Program, chain: str) -> set[str]:
    """Return the chains that a packet can reach next, by a rule or by an element of a map."""
    targets = {map_.header.name: {verdict.chain for verdict in map_.content.verdicts} for map_ in built.maps}
    found: set[str] = set()
    for rule in chains(built)[chain].rules:
        for part in rule.expressions:
            if isinstance(part, VerdictMap):
                found |= targets[part.name]
            if isinstance(part, RuleVerdict):
                found.add(part.chain)
    return found - {""}


def parts(built: Program) -> Iterator[tuple[str, object]]:
    """Yield every expression, with its chain."""
    return ((chain.name, part) for chain in built.chains for rule in chain.rules for part in rule.expressions)
