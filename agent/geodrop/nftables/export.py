# SPDX-License-Identifier: Apache-2.0
"""Write a ruleset as a table in nft text: what the engine would load, enforced by stock nft. Pure.

Rules and maps are those of `render`, so verdicts and counters are the same. The table has another name and is loaded in
one transaction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.nftables import render, text
from geodrop.nftables.model import Rule
from geodrop.nftables.names import generation_chain
from geodrop.nftables.netlink.expressions import Cmp, MetaLoad, goto
from geodrop.nftables.netlink.uapi import CmpOp, MetaKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.nftables.model import Chain, Map, SetHeader
    from geodrop.ruleset.model import Ruleset

TABLE = "geodrop_export"
"""Exists beside the live table, inet geodrop: neither `load` nor `unload` ever touches it."""

GENERATION = 0
"""A number that no loaded generation has."""

_EVERYWHERE = Rule(
    (MetaLoad(MetaKey.IIFNAME), Cmp(CmpOp.NEQ, b"lo".ljust(16, b"\0")), goto(generation_chain(GENERATION))),
    "every interface but loopback",
)


def nft(ruleset: Ruleset, interfaces: Sequence[str] = ()) -> Iterator[str]:
    """Yield the text in pieces. Without interfaces, packets are judged on all but loopback.

    Interface names may end in `*`. Raises DataError for a name that nft could not read, before the piece with that
    name.
    """
    # At time 0 every `starts` lies in the future, so each becomes a rule that asks the kernel's clock.
    built = render.build(ruleset, GENERATION, interfaces, now=0)
    yield _heading(ruleset, interfaces)
    yield f"table inet {TABLE}\ndelete table inet {TABLE}\n\ntable inet {TABLE} {{\n"
    yield f'  comment "geodrop export, ruleset {ruleset.digest}"\n'
    entry, *others = built.chains
    yield _chain(render.base_chain(built.switch or (_EVERYWHERE,)))
    yield from map(_chain, (replace(entry, comment=f"ruleset {ruleset.digest}"), *others))
    yield "\n" + "".join(f"  counter {text.identifier(name)} {{ }}\n" for name in built.counters)
    yield from map(_set, built.sets)
    for map_ in built.maps:
        yield from _map(map_)
    yield "}\n"


def _heading(ruleset: Ruleset, interfaces: Sequence[str]) -> str:
    where = ", ".join(interfaces) or "all but loopback"
    return f"""\
# Ruleset {ruleset.digest} of geodrop, for stock nft.
# It drops what that ruleset drops, with nothing of geodrop running or installed.
#
#   load, replacing what was loaded from such a file:  nft -f FILE
#   look at the counters:                              nft list counters table inet {TABLE}
#   remove:                                            nft delete table inet {TABLE}
#
# Packets are judged that arrive on these interfaces: {where}. The chain {render.base_chain().name} names them.
# A live table inet geodrop stays in force beside it: a packet then has to pass both.

"""


def _chain(chain: Chain) -> str:
    lines = [f"\n  chain {text.identifier(chain.name)} {{"]
    if chain.comment:
        lines.append(f"    {text.comment(chain.comment)}")
    if chain.hook:
        lines.append(f"    type {chain.hook.type} hook prerouting priority {chain.hook.priority}; policy accept;")
    lines += [f"    {text.rule(rule)}" for rule in chain.rules]
    return "\n".join((*lines, "  }\n"))


def _set(header: SetHeader) -> str:
    """Write a set without elements: who is exempt on a host is no part of a ruleset."""
    return (
        f"\n  set {text.identifier(header.name)} {{\n    {text.comment(header.comment)}\n"
        f"    {text.key(header.key)}\n    flags interval,timeout\n    counter\n  }}\n"
    )


def _map(map_: Map) -> Iterator[str]:
    header = map_.header
    yield (
        f"\n  map {text.identifier(header.name)} {{\n    {text.comment(header.comment)}\n"
        f"    {text.key(header.key)} : verdict\n    flags interval\n    elements = {{\n"
    )
    yield from text.elements(map_.content, header.key)
    yield "    }\n  }\n"
