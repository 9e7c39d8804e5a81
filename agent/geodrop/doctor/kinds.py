# SPDX-License-Identifier: Apache-2.0
"""Try every kind of object and expression that a load can put into nf_tables, each alone, in the calling namespace.

A kernel may answer netlink and yet lack some kinds, which are separate modules or options. A load would then be refused
halfway, with ENOENT as the only clue.
"""

from __future__ import annotations

import itertools
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import ApplyError, UnavailableError
from geodrop.nftables import lookups, matches, names, ramps, readback, render, transport
from geodrop.nftables.model import Chain, Content, Map, MapHeader, Rule, Space
from geodrop.nftables.netlink import messages, timed, windows
from geodrop.nftables.netlink.connection import Connection
from geodrop.nftables.netlink.expressions import (
    ACCEPT,
    DROP,
    PROHIBITED,
    RESET,
    RETURN,
    InSet,
    NamedCounter,
    goto,
    jump,
)
from geodrop.nftables.netlink.timed import TimedInterval
from geodrop.nftables.transport import VISIBLE
from geodrop.ruleset.intervals import WIDTH
from geodrop.ruleset.model import Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.nftables.model import SetHeader
    from geodrop.nftables.netlink.expressions import Expression
    from geodrop.nftables.netlink.wire import NetlinkRequest

CHAIN, TARGET, COUNTER, WINDOW = "tried", "target", "counter", "g1.window"
SECOND = 1_000
"""In milliseconds."""
EVERY_LOAD = "the nftables engine cannot be used"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: rules that need it, and the maps, counters and windows that the rules refer to.

    `option` is the kernel's option, `cost` what does not work without it.
    """

    name: str
    option: str
    rules: tuple[tuple[Expression, ...], ...]
    cost: str = EVERY_LOAD
    maps: tuple[Map, ...] = ()
    counters: tuple[str, ...] = ()
    sets: tuple[SetHeader, ...] = ()
    windows: tuple[str, ...] = ()

    def requests(self) -> Iterator[NetlinkRequest]:
        """Yield requests that make the counters, maps, sets and windows, then the rules that refer to them."""
        yield from map(messages.new_counter, self.counters)
        for header in self.sets:
            yield timed.new_set(header)
            yield from timed.add(header, [TimedInterval(1, 2, SECOND)])
        for window in self.windows:
            yield windows.new_window(window)
            yield windows.add_element(window, SECOND)
        for map_ in self.maps:
            yield messages.new_map(map_.header)
            yield from messages.new_elements(map_)
        yield from messages.new_rules(CHAIN, map(Rule, self.rules), itertools.count(1))


def _map(space: Space) -> Map:
    """Return a verdict map with one interval, 1 to 2."""
    width = WIDTH[space.family]
    first, behind = (memoryview(bytes(width - 1) + bytes([last])) for last in (1, 3))
    content = Content(width, first, behind, memoryview(array("H", [0])), (goto(TARGET),))
    return Map(MapHeader(space.value, "", lookups.KEY[space]), content)


def _lookup(family: int) -> tuple[Expression, ...]:
    return lookups.rules(matches.family(family), matches.SOURCE[family], [lookups.Shard(f"ipv{family}")])[0].expressions


KINDS = (
    Kind("verdicts", "NF_TABLES", ((ACCEPT,), (DROP,), (RETURN,), (jump(TARGET),), (goto(TARGET),))),
    Kind("interfaces by name and number", "NF_TABLES", (matches.interface("a"), matches.interface_number(1))),
    Kind(
        "ports and protocols",
        "NF_TABLES",
        (
            VISIBLE.destination_ports([6], [(1, 1), (3, 4)]),
            *VISIBLE.no_openings(),
            *transport.PROTECTED[-1].no_openings(),
            VISIBLE.shows_ports(),
            transport.neither([6]),
            transport.protects_transport(),
            transport.PROTECTED[-1].destination_ports([6], [(1, 1), (3, 4)]),
        ),
    ),
    Kind("later fragments", "NF_TABLES", (matches.later_fragment(4), matches.later_fragment(6))),
    Kind(
        "control traffic",
        "NF_TABLES",
        (VISIBLE.icmp_errors(), VISIBLE.neighbour_discovery(), VISIBLE.dhcp(4, 67, 68)),
    ),
    Kind("counters", "NFT_OBJREF, NFT_COUNTER", ((NamedCounter(COUNTER),),), counters=(COUNTER,)),
    Kind(
        "verdict maps of intervals",
        "NF_TABLES",
        (
            _lookup(4),
            _lookup(6),
            *(rule.expressions for one in Embedding for rule in lookups.embedded_rules(one, [lookups.Shard("inside")])),
        ),
        maps=tuple(map(_map, Space)),
    ),
    Kind(
        "kinds of interfaces",
        "NF_TABLES",
        (matches.of_kinds(["veth", "bridge"]),),
        "nothing can be loaded at boot without `interfaces` in agent.yaml",
    ),
    Kind(
        "exempt sources",
        "NF_TABLES",
        tuple((*matches.family(family), matches.SOURCE[family], InSet(name)) for family, name in names.EXEMPT.items()),
        sets=render.EXEMPT_SETS,
    ),
    Kind("the clock", "NF_TABLES", (matches.before(1),), "`starts` and `pause` cannot be enforced"),
    Kind(
        "elements that expire",
        "NF_TABLES",
        (matches.in_window(WINDOW),),
        "a load with --confirm-within is refused",
        windows=(WINDOW,),
    ),
    Kind(
        "shares of sources",
        "NFT_HASH",
        tuple(ramps.outside("tried", 4 if form == 4 else 6, key, 1) for form, key in ramps.KEYS.items()),
        "a policy with `share` or `ramp` cannot be loaded",
    ),
    Kind(
        "reject",
        "NFT_REJECT_INET",
        ((*VISIBLE.protocols([6]), RESET), (PROHIBITED,)),
        "a policy with `action: reject` cannot be loaded",
    ),
)


def missing(kinds: Sequence[Kind] = KINDS) -> list[tuple[Kind, str]]:
    """Try each kind in this network namespace; return the kinds that the kernel refuses, with its error text.

    Makes the table `inet geodrop` and leaves it there, so call it in a new namespace. Raises UnavailableError,
    PrivilegeError or ApplyError if not even a table with chains can be made.
    """
    refused = []
    with Connection() as connection:
        chains = (render.base_chain(), Chain(CHAIN, "", ()), Chain(TARGET, "", ()))
        connection.transaction([messages.new_table(readback.TABLE_COMMENT), *map(messages.new_chain, chains)])
        for kind in kinds:
            try:
                connection.transaction(kind.requests())
            except (ApplyError, UnavailableError) as error:
                refused.append((kind, error.message))
    return refused
