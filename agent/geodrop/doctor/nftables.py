# SPDX-License-Identifier: Apache-2.0
"""Probe nf_tables in a new network namespace, and read the tables of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.doctor import kinds
from geodrop.doctor.finding import MISSING, NOTE, OK, Finding, asked
from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.linux import capabilities
from geodrop.linux.namespace import in_new_namespace
from geodrop.nftables import flowtables, names, readback, render
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink import messages, uapi, wire
from geodrop.nftables.netlink.connection import Connection
from geodrop.nftables.netlink.uapi import Flag, Message
from geodrop.nftables.netlink.wire import NetlinkRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

STOPS = ("nftables",)


def findings() -> Iterator[Finding]:
    """Yield what the nftables engine needs, tried in a new network namespace."""
    if lacking := capabilities.missing(capabilities.NFTABLES):
        step = f"run as root, or AmbientCapabilities={' '.join(lacking)} in the unit"
        yield Finding("nftables: capabilities", MISSING, " ".join(lacking), capabilities.COSTS[lacking[0]], step, STOPS)
    else:
        yield Finding("nftables: capabilities", OK, " ".join(capabilities.NFTABLES))
    try:
        refused = in_new_namespace(_refused)
    except PrivilegeError as error:
        # Without a new namespace, nf_tables is only asked whether it answers: that changes nothing in this one.
        cost = "the nftables engine cannot be used"
        yield asked("nftables: nf_tables", f"answers; {error}", NftablesEngine().probe, cost, STOPS)
        return
    except UnavailableError as error:
        step = error.next_step or "load nf_tables and nf_tables_inet"
        yield Finding("nftables: nf_tables", MISSING, error.message, "the nftables engine cannot be used", step, STOPS)
        return
    yield Finding("nftables: nf_tables", OK, "an inet table with a chain in prerouting can be made")
    for name, option, found, cost in refused:
        step = f"build or load what the kernel lacks: CONFIG_{option}"
        stops = STOPS if cost == kinds.EVERY_LOAD else ()
        yield Finding(f"nftables: {name}", MISSING, found, cost, step, stops)
    if not refused:
        yield Finding("nftables: rules", OK, f"tried: {', '.join(kind.name for kind in kinds.KINDS)}")


def place() -> Finding:
    """Return whether the table's name is free, ours, or taken by another program. Only reads this namespace."""
    with Connection() as connection:
        try:
            found = readback.read_table(connection)
        except UnavailableError as error:
            cost = "geodrop does not touch it, and cannot use nftables"
            return Finding("nftables: table", MISSING, error.message, cost, error.next_step, STOPS)
    name = f"inet {names.TABLE}"
    return Finding("nftables: table", OK, f"{name} is geodrop's" if found else f"the name {name} is free")


def before_us() -> Iterator[Finding]:
    """Yield foreign chains of the family inet that packets meet in prerouting before geodrop's chain."""
    with Connection() as connection:
        for answer in connection.dump(NetlinkRequest(Message.GETCHAIN, Flag.REQUEST | Flag.DUMP, b"", "read chains")):
            found = wire.parse(answer)
            table, chain = wire.text(found[uapi.ChainAttribute.TABLE]), messages.read_chain(found, ())
            hook = chain.hook
            if table == names.TABLE or hook is None or hook.number != render.HOOK.number:
                continue
            if hook.priority <= render.HOOK.priority:
                where = f"inet {table} {chain.name}, priority {hook.priority}, comes before {render.HOOK.priority}"
                cost = "packets that it drops are neither judged nor counted; packets that it accepts are still judged"
                yield Finding("nftables: chains before", NOTE, where, cost, f"nft list table inet {table}")


def beside_us() -> Iterator[Finding]:
    """Yield foreign flowtables, by which forwarded packets of open connections bypass prerouting."""
    for bypass in flowtables.read():
        where = f"{bypass} takes packets from {', '.join(bypass.interfaces) or 'no interface now'}"
        cost = "nftables sees no packet of open, forwarded connections there: a new policy does not cut them"
        yield Finding("nftables: flowtables", NOTE, where, cost, flowtables.NEXT_STEP)


def _refused() -> list[list[str]]:
    """Return name, kernel option, the kernel's error text and cost of each kind that cannot be made."""
    return [[kind.name, kind.option, found, kind.cost] for kind, found in kinds.missing()]
