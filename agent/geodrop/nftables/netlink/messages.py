# SPDX-License-Identifier: Apache-2.0
"""Messages that make, read and remove tables, chains, rules, maps and counters. Pure.

Every message names the table of geodrop itself, so no message can reach another table.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.linux import netlink
from geodrop.nftables.lookups import INSIDE_KEY
from geodrop.nftables.model import Chain, Hook, MapHeader, Rule
from geodrop.nftables.names import BASE, TABLE
from geodrop.nftables.netlink import elements, expressions, uapi, wire
from geodrop.nftables.netlink.expressions import OneOf
from geodrop.nftables.netlink.uapi import Flag, KeyType, Message, SetFlag
from geodrop.nftables.netlink.wire import NetlinkRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from geodrop.nftables.model import Map
    from geodrop.nftables.netlink.expressions import Choice, Payload

_NEW = Flag.REQUEST | Flag.CREATE | Flag.EXCL
KEY_LENGTH = {KeyType.IPV4_ADDR: 4, KeyType.IPV6_ADDR: 16, KeyType.INTEGER: 4}
_MAP_FLAGS = SetFlag.INTERVAL | SetFlag.MAP | SetFlag.CONSTANT
_TABLE_ATTRIBUTE = {
    Message.GETCHAIN: uapi.ChainAttribute.TABLE,
    Message.GETRULE: uapi.RuleAttribute.TABLE,
    Message.GETSET: uapi.SetAttribute.TABLE,
    Message.GETOBJ: uapi.ObjectAttribute.TABLE,
    Message.GETFLOWTABLE: uapi.FlowtableAttribute.TABLE,
}

_ANONYMOUS = "__set%d"
"""The kernel replaces %d by a number, which it reports when the rule is read back."""

# How nft learns to print keys: type, length, byte order; each number in host byte order (libnftnl, udata.h).
BIG_ENDIAN_KEYS = struct.pack("=BBI", uapi.UDATA_SET_KEYBYTEORDER, 4, uapi.UDATA_BIG_ENDIAN)
_HOST_ENDIAN_KEYS = struct.pack("=BBI", uapi.UDATA_SET_KEYBYTEORDER, 4, uapi.UDATA_HOST_ENDIAN)


def _described(kind: int, *attributes: tuple[int, int]) -> bytes:
    """Describe an expression as nft notes it in user data: its kind, and numbers that specify it."""
    numbers = b"".join(struct.pack("=BBI", name, 4, number) for name, number in attributes)
    return struct.pack("=BBIBB", 0, 4, kind, 1, len(numbers)) + numbers


def _typeof(key: Payload) -> bytes:
    """Tell nft that keys are raw bytes of a packet and elements are verdicts, so that nft can read what it lists."""
    bits = (uapi.UDATA_PAYLOAD_OFFSET, 8 * key.offset), (uapi.UDATA_PAYLOAD_LEN, 8 * key.length)
    where = (uapi.UDATA_PAYLOAD_DESC, 0), (uapi.UDATA_PAYLOAD_TYPE, 0), (uapi.UDATA_PAYLOAD_BASE, key.base + 1), *bits
    payload, verdict = _described(uapi.UDATA_EXPR_PAYLOAD, *where), _described(uapi.UDATA_EXPR_VERDICT)
    return b"".join(
        (
            bytes((uapi.UDATA_SET_KEY_TYPEOF, len(payload))) + payload,
            bytes((uapi.UDATA_SET_DATA_TYPEOF, len(verdict))) + verdict,
        )
    )


_TYPEOF = {KeyType.INTEGER: _typeof(INSIDE_KEY)}


# --- making ---------------------------------------------------------------------------------------------------------


def new_table(comment: str) -> NetlinkRequest:
    """Make the table."""
    body = wire.string(uapi.TableAttribute.NAME, TABLE) + wire.comment(uapi.TableAttribute.USERDATA, comment)
    return NetlinkRequest(Message.NEWTABLE, _NEW, body, f"create table inet {TABLE}")


def wake_table() -> NetlinkRequest:
    """Clear the table's flags, "dormant" among them, which keeps the kernel from calling its chains."""
    body = wire.string(uapi.TableAttribute.NAME, TABLE) + wire.be32(uapi.TableAttribute.FLAGS, 0)
    return NetlinkRequest(Message.NEWTABLE, Flag.REQUEST, body, f"clear the flags of table inet {TABLE}")


def new_chain(chain: Chain) -> NetlinkRequest:
    """Make a chain without rules."""
    body = wire.string(uapi.ChainAttribute.TABLE, TABLE) + wire.string(uapi.ChainAttribute.NAME, chain.name)
    if chain.hook:
        body += (
            wire.nested(
                uapi.ChainAttribute.HOOK,
                wire.be32(uapi.HookAttribute.HOOKNUM, chain.hook.number),
                wire.be32(uapi.HookAttribute.PRIORITY, chain.hook.priority),
            )
            + wire.be32(uapi.ChainAttribute.POLICY, chain.hook.policy)
            + wire.string(uapi.ChainAttribute.TYPE, chain.hook.type)
        )
    if chain.comment:
        body += wire.comment(uapi.ChainAttribute.USERDATA, chain.comment)
    return NetlinkRequest(Message.NEWCHAIN, _NEW, body, f"create chain {chain.name}")


def new_rules(chain: str, rules: Iterable[Rule], numbers: Iterator[int]) -> Iterator[NetlinkRequest]:
    """Append rules, and before each the anonymous sets that it needs; `numbers` are still unused in the transaction."""
    for position, rule in enumerate(rules, start=1):
        what = f"add rule {position} to chain {chain}"
        encoded = []
        for expression in rule.expressions:
            if isinstance(expression, OneOf):
                number = next(numbers)
                yield from _new_choice(expression.choice, number, what)
                encoded.append(expression.encode(_ANONYMOUS, number))
            else:
                encoded.append(expression.encode())
        body = (
            wire.string(uapi.RuleAttribute.TABLE, TABLE)
            + wire.string(uapi.RuleAttribute.CHAIN, chain)
            + wire.nested(uapi.RuleAttribute.EXPRESSIONS, *encoded)
        )
        if rule.comment:
            body += wire.comment(uapi.RuleAttribute.USERDATA, rule.comment)
        yield NetlinkRequest(Message.NEWRULE, Flag.REQUEST | Flag.CREATE | Flag.APPEND, body, what, joined=True)


def new_map(header: MapHeader) -> NetlinkRequest:
    """Make an empty verdict map. It is constant: once a rule uses it, the kernel refuses to add or remove elements."""
    encoded = header.comment.encode() + b"\0"
    body = (
        wire.string(uapi.SetAttribute.TABLE, TABLE)
        + wire.string(uapi.SetAttribute.NAME, header.name)
        + wire.be32(uapi.SetAttribute.FLAGS, _MAP_FLAGS)
        + wire.be32(uapi.SetAttribute.KEY_TYPE, header.key)
        + wire.be32(uapi.SetAttribute.KEY_LEN, KEY_LENGTH[header.key])
        + wire.be32(uapi.SetAttribute.DATA_TYPE, uapi.NFT_DATA_VERDICT)
        + wire.be32(uapi.SetAttribute.DATA_LEN, 0)
        + wire.be32(uapi.SetAttribute.ID, 0)
        + wire.attribute(
            uapi.SetAttribute.USERDATA,
            BIG_ENDIAN_KEYS + _TYPEOF.get(header.key, b"") + bytes((uapi.UDATA_SET_COMMENT, len(encoded))) + encoded,
        )
    )
    return NetlinkRequest(Message.NEWSET, _NEW, body, f"create map {header.name}")


def new_elements(map_: Map) -> Iterator[NetlinkRequest]:
    """Fill a map."""
    for items in elements.lists(map_.content):
        yield _elements(map_.header.name, items, f"fill map {map_.header.name}")


def new_counter(name: str, packets: int = 0, size: int = 0) -> NetlinkRequest:
    """Make a named counter that starts with these packets and bytes."""
    body = _object(name) + wire.nested(
        uapi.ObjectAttribute.DATA,
        wire.be64(uapi.CounterAttribute.BYTES, size),
        wire.be64(uapi.CounterAttribute.PACKETS, packets),
    )
    return NetlinkRequest(Message.NEWOBJ, _NEW, body, f"create counter {name}")


# --- removing -------------------------------------------------------------------------------------------------------


def delete_table() -> NetlinkRequest:
    """Remove the table with everything in it."""
    return NetlinkRequest(
        Message.DELTABLE, Flag.REQUEST, wire.string(uapi.TableAttribute.NAME, TABLE), f"delete table inet {TABLE}"
    )


def delete_rules(chain: str) -> NetlinkRequest:
    """Remove all rules of a chain."""
    body = wire.string(uapi.RuleAttribute.TABLE, TABLE) + wire.string(uapi.RuleAttribute.CHAIN, chain)
    return NetlinkRequest(Message.DELRULE, Flag.REQUEST, body, f"delete the rules of chain {chain}")


def delete_chain(chain: str) -> NetlinkRequest:
    """Remove a chain that nothing leads to."""
    body = wire.string(uapi.ChainAttribute.TABLE, TABLE) + wire.string(uapi.ChainAttribute.NAME, chain)
    return NetlinkRequest(Message.DELCHAIN, Flag.REQUEST, body, f"delete chain {chain}")


def delete_set(name: str) -> NetlinkRequest:
    """Remove a map or set that no rule uses."""
    body = wire.string(uapi.SetAttribute.TABLE, TABLE) + wire.string(uapi.SetAttribute.NAME, name)
    return NetlinkRequest(Message.DELSET, Flag.REQUEST, body, f"delete map {name}")


def delete_counter(name: str) -> NetlinkRequest:
    """Remove a counter that no rule uses."""
    return delete_object(uapi.NFT_OBJECT_COUNTER, name)


def delete_object(kind: int, name: str) -> NetlinkRequest:
    """Remove a named object (counter, quota, limit or other) that no rule uses."""
    what = "counter" if kind == uapi.NFT_OBJECT_COUNTER else "object"
    return NetlinkRequest(Message.DELOBJ, Flag.REQUEST, _object(name, kind), f"delete {what} {name}")


def delete_flowtable(name: str) -> NetlinkRequest:
    """Remove a flowtable that no rule uses."""
    body = wire.string(uapi.FlowtableAttribute.TABLE, TABLE) + wire.string(uapi.FlowtableAttribute.NAME, name)
    return NetlinkRequest(Message.DELFLOWTABLE, Flag.REQUEST, body, f"delete flowtable {name}")


# --- reading --------------------------------------------------------------------------------------------------------


def get_generation() -> NetlinkRequest:
    """Ask for the number of the last transaction; answered wherever nf_tables works and may be used."""
    return NetlinkRequest(Message.GETGEN, Flag.REQUEST | Flag.ACK, b"", "use nf_tables")


def get_base() -> NetlinkRequest:
    """Ask for the base chain, without its rules."""
    body = wire.string(uapi.ChainAttribute.TABLE, TABLE) + wire.string(uapi.ChainAttribute.NAME, BASE)
    return NetlinkRequest(Message.GETCHAIN, Flag.REQUEST | Flag.ACK, body, f"read chain {BASE}")


def get_table() -> NetlinkRequest:
    """Ask for the table itself."""
    return NetlinkRequest(
        Message.GETTABLE,
        Flag.REQUEST | Flag.ACK,
        wire.string(uapi.TableAttribute.NAME, TABLE),
        f"read table inet {TABLE}",
    )


def dump(kind: Message, what: str) -> NetlinkRequest:
    """Ask for all chains, rules, sets, objects or flowtables of the table.
    The answer has chains of other tables too.
    """
    body = wire.string(_TABLE_ATTRIBUTE[kind], TABLE)
    return NetlinkRequest(kind, Flag.REQUEST | Flag.DUMP, body, f"read the {what} of table inet {TABLE}")


def dump_counters() -> NetlinkRequest:
    """Ask for all counters of the table."""
    body = wire.string(uapi.ObjectAttribute.TABLE, TABLE) + wire.be32(
        uapi.ObjectAttribute.TYPE, uapi.NFT_OBJECT_COUNTER
    )
    return NetlinkRequest(Message.GETOBJ, Flag.REQUEST | Flag.DUMP, body, f"read the counters of table inet {TABLE}")


def dump_rules(chain: str) -> NetlinkRequest:
    """Ask for the rules of one chain."""
    body = wire.string(uapi.RuleAttribute.TABLE, TABLE) + wire.string(uapi.RuleAttribute.CHAIN, chain)
    return NetlinkRequest(Message.GETRULE, Flag.REQUEST | Flag.DUMP, body, f"read the rules of chain {chain}")


def dump_elements(name: str) -> NetlinkRequest:
    """Ask for all elements of a map or set."""
    body = wire.string(uapi.ElementsAttribute.TABLE, TABLE) + wire.string(uapi.ElementsAttribute.SET, name)
    return NetlinkRequest(Message.GETSETELEM, Flag.REQUEST | Flag.DUMP, body, f"read map {name}")


def get_element(name: str, address: bytes, *, end: bool = False) -> NetlinkRequest:
    """Ask for the interval that holds an address. The answer is its first element (with `end`, its end), or ENOENT."""
    flags = [wire.be32(uapi.ElementAttribute.FLAGS, uapi.NFT_SET_ELEM_INTERVAL_END)] if end else []
    body = (
        wire.string(uapi.ElementsAttribute.TABLE, TABLE)
        + wire.string(uapi.ElementsAttribute.SET, name)
        + wire.nested(uapi.ElementsAttribute.ELEMENTS, elements.element(address, *flags))
    )
    return NetlinkRequest(Message.GETSETELEM, Flag.REQUEST | Flag.ACK, body, f"look up in map {name}")


def read_chain(found: Mapping[int, memoryview], rules: tuple[Rule, ...]) -> Chain:
    """Read an answer to `dump` of chains; the chain's rules come from another dump."""
    hook = None
    if uapi.ChainAttribute.HOOK in found:
        at = wire.parse(found[uapi.ChainAttribute.HOOK])
        hook = Hook(
            wire.text(found[uapi.ChainAttribute.TYPE]),
            wire.number(at[uapi.HookAttribute.HOOKNUM]),
            wire.signed(at[uapi.HookAttribute.PRIORITY]),
            wire.number(found[uapi.ChainAttribute.POLICY]),
        )
    comment = wire.comment_text(found.get(uapi.ChainAttribute.USERDATA))
    return Chain(wire.text(found[uapi.ChainAttribute.NAME]), comment, rules, hook)


def read_elements(data: memoryview) -> memoryview:
    """Return the list of elements in an answer to `dump_elements` or `get_element`."""
    return wire.parse(data).get(uapi.ElementsAttribute.ELEMENTS, memoryview(b""))


def read_rule(data: memoryview, choices: Mapping[str, Choice]) -> tuple[str, Rule]:
    """Read an answer to `dump` of rules: the chain's name, and the rule."""
    found = wire.parse(data)
    items = netlink.attributes(found.get(uapi.RuleAttribute.EXPRESSIONS, memoryview(b"")))
    decoded = tuple(expressions.decode(item, choices) for _, item in items)
    return wire.text(found[uapi.RuleAttribute.CHAIN]), Rule(
        decoded, wire.comment_text(found.get(uapi.RuleAttribute.USERDATA))
    )


def read_map(found: Mapping[int, memoryview]) -> MapHeader | None:
    """Read an answer to `dump` of sets; None if it is not a map like those that geodrop makes."""
    key = wire.number_in(found, uapi.SetAttribute.KEY_TYPE)
    if (
        wire.number_in(found, uapi.SetAttribute.FLAGS) != _MAP_FLAGS
        or key not in set(KEY_LENGTH)
        or wire.number_in(found, uapi.SetAttribute.KEY_LEN) != KEY_LENGTH[KeyType(key)]
        or wire.number_in(found, uapi.SetAttribute.DATA_TYPE) != uapi.NFT_DATA_VERDICT
    ):
        return None
    comment = wire.comment_text(found.get(uapi.SetAttribute.USERDATA), uapi.UDATA_SET_COMMENT)
    return MapHeader(wire.text(found[uapi.SetAttribute.NAME]), comment, KeyType(key))


def read_object(data: memoryview) -> tuple[int, str]:
    """Read an answer to `dump` of objects: type and name."""
    found = wire.parse(data)
    return wire.number_in(found, uapi.ObjectAttribute.TYPE), wire.text(found[uapi.ObjectAttribute.NAME])


def read_generation(data: memoryview) -> int:
    """Read the answer to `get_generation`: the number of the last transaction of any process."""
    return wire.number_in(wire.parse(data), uapi.GenerationAttribute.ID)


def read_counter(data: memoryview) -> tuple[str, tuple[int, int]]:
    """Read an answer to `dump` of counters: name, packets and bytes."""
    found = wire.parse(data)
    values = wire.parse(found[uapi.ObjectAttribute.DATA])
    packets, octets = (
        wire.number(values[uapi.CounterAttribute.PACKETS]),
        wire.number(values[uapi.CounterAttribute.BYTES]),
    )
    return wire.text(found[uapi.ObjectAttribute.NAME]), (packets, octets)


def _new_choice(choice: Choice, number: int, what: str) -> Iterator[NetlinkRequest]:
    flags = SetFlag.ANONYMOUS | SetFlag.CONSTANT | (SetFlag.INTERVAL if choice.interval else SetFlag(0))
    body = (
        wire.string(uapi.SetAttribute.TABLE, TABLE)
        + wire.string(uapi.SetAttribute.NAME, _ANONYMOUS)
        + wire.be32(uapi.SetAttribute.FLAGS, flags)
        + wire.be32(uapi.SetAttribute.KEY_TYPE, choice.type)
        + wire.be32(uapi.SetAttribute.KEY_LEN, choice.length)
        + wire.be32(uapi.SetAttribute.ID, number)
        + wire.attribute(
            # With reversed bytes, nft would print a text from its end.
            uapi.SetAttribute.USERDATA,
            _HOST_ENDIAN_KEYS if choice.type is KeyType.IFNAME else BIG_ENDIAN_KEYS,
        )
    )
    yield NetlinkRequest(Message.NEWSET, _NEW, body, what)
    by_number = wire.be32(uapi.ElementsAttribute.SET_ID, number)
    yield replace(_elements(_ANONYMOUS, elements.choice_elements(choice), what, by_number), joined=True)


def _elements(name: str, items: bytes, what: str, more: bytes = b"") -> NetlinkRequest:
    body = (
        wire.string(uapi.ElementsAttribute.TABLE, TABLE)
        + wire.string(uapi.ElementsAttribute.SET, name)
        + more
        + wire.attribute(uapi.ElementsAttribute.ELEMENTS, items)
    )
    return NetlinkRequest(Message.NEWSETELEM, Flag.REQUEST | Flag.CREATE, body, what)


def _object(name: str, kind: int = uapi.NFT_OBJECT_COUNTER) -> bytes:
    return (
        wire.string(uapi.ObjectAttribute.TABLE, TABLE)
        + wire.string(uapi.ObjectAttribute.NAME, name)
        + wire.be32(uapi.ObjectAttribute.TYPE, kind)
    )
