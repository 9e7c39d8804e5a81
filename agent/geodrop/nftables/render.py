# SPDX-License-Identifier: Apache-2.0
"""Turn a ruleset into everything that one generation puts into the kernel. Pure.

    prerouting              interface -> g42
    g42 ...                 which service judges a packet: see `entry`
    g42-api ...             what the service does with it: see `service_chains`

So a packet that a service drops passes: interface, port, map, counter, drop.
docs/decisions/0003-nftables-by-raw-netlink.md has the measurements behind this shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.engine.api import Scope
from geodrop.engine.interfaces import EVERY, LOOPBACK, VIRTUAL
from geodrop.nftables import entry, matches, names
from geodrop.nftables.model import Chain, Hook, Program, Rule, SetHeader
from geodrop.nftables.netlink import uapi
from geodrop.nftables.netlink.expressions import ACCEPT, NamedCounter, goto
from geodrop.nftables.netlink.uapi import KeyType
from geodrop.nftables.service_chains import ServiceChains
from geodrop.nftables.stamp import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.nftables.overlay import Base
    from geodrop.ruleset.model import Ruleset

HOOK = Hook("filter", uapi.NF_INET_PRE_ROUTING, -450, uapi.VerdictCode.ACCEPT)
"""Priority -450 is before defragmentation (-400), the raw tables (-300) and connection tracking (-200): packets are
judged as they are on the wire."""

JUDGED_BY_XDP = "judged by xdp"
"""Comment of the rules that accept packets which an XDP program has already judged."""

COMMENT_BYTES = 127
"""The longest comment that nft shows, without its NUL (NFTNL_UDATA_COMMENT_MAXLEN, libnftnl/udata.h)."""

_NOT_XDP = "; not xdp: "

_ONLY_IF_NAMED = (
    Rule((*matches.interface(LOOPBACK), ACCEPT), "only judged if it is named"),
    Rule((*matches.of_kinds(VIRTUAL), ACCEPT), "only judged if they are named"),
)
"""What the interface pattern `*` does not include."""

EXEMPT_SETS = tuple(
    SetHeader(names.EXEMPT[family], "exempt sources; see: geodrop exempt", key)
    for family, key in ((4, KeyType.IPV4_ADDR), (6, KeyType.IPV6_ADDR))
)
"""The sets that are asked on the way to a drop."""

BASE_COMMENT = "packets that arrive on these interfaces are judged by one generation"


def build(  # noqa: PLR0913 - a generation is made from all of these
    ruleset: Ruleset,
    generation: int,
    interfaces: Sequence[str],
    now: int,
    base: Base | None = None,
    *,
    regions: bool = False,
) -> Program:
    """Build everything of one generation.

    `now`, in seconds since the epoch, is the load time that the generation states; nothing else depends on the clock
    of the load, which may be wrong. With a `base` the generation is an overlay. With `regions` it has the maps that
    count by region what else counts as `other`.
    """
    specs = entry.ordered(ruleset.meta.services)
    services = [ServiceChains(ruleset, generation, spec, base, regions=regions) for spec in specs]
    chains = entry.chains(generation, str(Stamp(generation, ruleset.digest, now)), services)
    chains += [chain for service in services for chain in service.chains]
    maps = tuple(map_ for service in services for map_ in service.maps)
    scope = Scope(tuple(interfaces))
    # Counters of regions exist from the start: their totals continue even while no rule counts in them.
    counters = _counters([*chains, *(chain for service in services for chain in service.of_regions)])
    if base is None:
        return Program(generation, counters, tuple(chains), maps, switch(generation, scope), sets=EXEMPT_SETS)
    shared_chains = [
        chain
        for spec in specs
        for number in (generation, base.generation)
        for chain in ServiceChains(ruleset, number, spec, regions=base.regions and number == base.generation).led_to()
    ]
    if base.delta is None:
        led_to = {chain.name for chain in shared_chains}
        chains = [chain for chain in chains if chain.name not in led_to]
    return Program(
        generation,
        counters,
        tuple(chains),
        maps,
        switch(generation, scope),
        base.generation,
        tuple(shared_chains),
        EXEMPT_SETS,
    )


def switch(generation: int, scope: Scope, previous: int | None = None) -> tuple[Rule, ...]:
    """Return the base chain's rules.

    Their comments number them, so that a missing rule shows, and say why an interface is not on xdp.

    With `previous`, the generation is not confirmed: it judges only as long as its window is open, and then the one of
    that number does (0: none).
    """
    elsewhere = tuple(
        Rule((*matches.interface_number(number), ACCEPT), JUDGED_BY_XDP) for number in sorted(set(scope.elsewhere))
    )
    # `*` comes last: an interface that is named is judged, whatever its kind.
    ordered = sorted(set(scope.names), key=lambda name: (name == EVERY, name))
    window = () if previous is None else matches.in_window(names.window(generation))
    rules: list[Rule] = []
    for number, name in enumerate(ordered, start=1):
        selector = matches.interface(name)
        rules += _ONLY_IF_NAMED if name == EVERY else ()
        lead = (*selector, *window, goto(names.generation_chain(generation)))
        rules.append(Rule(lead, _with_reason(number, len(ordered), scope.why.get(name, ""))))
        if previous:
            back = (*selector, goto(names.generation_chain(previous)))
            rules.append(Rule(back, f"interface {number} of {len(ordered)}: not confirmed"))
    return (*elsewhere, *rules)


def reason_in(comment: str) -> str:
    """Return why an interface is not on xdp, as `switch` wrote it in a comment; perhaps shortened to fit."""
    return comment.partition(_NOT_XDP)[2]


def _with_reason(number: int, count: int, why: str) -> str:
    text = f"interface {number} of {count}{_NOT_XDP if why else ''}{why}"
    if len(text.encode()) <= COMMENT_BYTES:
        return text
    return text.encode()[: COMMENT_BYTES - 3].decode(errors="ignore") + "..."


def base_chain(rules: tuple[Rule, ...] = ()) -> Chain:
    """Return the one chain that the kernel calls by itself, with these rules."""
    return Chain(names.BASE, BASE_COMMENT, rules, HOOK)


def _counters(chains: Iterable[Chain]) -> tuple[str, ...]:
    """Return the names of all counters that rules use."""
    used = {
        part.name
        for chain in chains
        for rule in chain.rules
        for part in rule.expressions
        if isinstance(part, NamedCounter)
    }
    return tuple(sorted(used))
