"""The messages that make, read and remove tables, chains, rules, maps and counters. Pure.

Everything here is about the one table of geodrop, and says so itself: no message can reach another table.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.nftables.lookups import INSIDE_KEY
from geodrop.nftables.model import Chain, Hook, MapHeader, Rule
from geodrop.nftables.names import BASE, TABLE
from geodrop.nftables.netlink import elements, expressions, uapi, wire
from geodrop.nftables.netlink.expressions import OneOf
from geodrop.nftables.netlink.uapi import Flag, KeyType, Message, SetFlag
from geodrop.nftables.netlink.wire import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from geodrop.nftables.model import Map
    from geodrop.nftables.netlink.expressions import Choice, Payload

_NEW = Flag.REQUEST | Flag.CREATE | Flag.EXCL
KEY_LENGTH = {KeyType.IPV4_ADDR: 4, KeyType.IPV6_ADDR: 16, KeyType.INTEGER: 4}
_MAP_FLAGS = SetFlag.INTERVAL | SetFlag.MAP | SetFlag.CONSTANT
_TABLE_ATTRIBUTE = {
    Message.GETCHAIN: uapi.Chain.TABLE,
    Message.GETRULE: uapi.Rule.TABLE,
    Message.GETSET: uapi.Set.TABLE,
    Message.GETOBJ: uapi.Object.TABLE,
    Message.GETFLOWTABLE: uapi.Flowtable.TABLE,
}

_ANONYMOUS = "__set%d"
"""The kernel puts a number in, which it reports when the rule is read back."""

# How nft learns to print keys: type, length, and the order of bytes as a number of the host's (libnftnl, udata.h).
_BIG_ENDIAN_KEYS = struct.pack("=BBI", uapi.UDATA_SET_KEYBYTEORDER, 4, uapi.UDATA_BIG_ENDIAN)
_HOST_ENDIAN_KEYS = struct.pack("=BBI", uapi.UDATA_SET_KEYBYTEORDER, 4, uapi.UDATA_HOST_ENDIAN)


def _described(kind: int, *attributes: tuple[int, int]) -> bytes:
    """An expression as nft notes it: what kind it is, and numbers that say which."""
    numbers = b"".join(struct.pack("=BBI", name, 4, number) for name, number in attributes)
    return struct.pack("=BBIBB", 0, 4, kind, 1, len(numbers)) + numbers


def _typeof(key: Payload) -> bytes:
    """That keys are bytes of a packet as they are, and elements verdicts: nft reads back what it lists of them."""
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


def new_table(comment: str) -> Request:
    """Make the table."""
    body = wire.string(uapi.Table.NAME, TABLE) + wire.comment(uapi.Table.USERDATA, comment)
    return Request(Message.NEWTABLE, _NEW, body, f"create table inet {TABLE}")


def wake_table() -> Request:
    """Clear the table's flags, "dormant" among them, which keeps the kernel from calling its chains."""
    body = wire.string(uapi.Table.NAME, TABLE) + wire.be32(uapi.Table.FLAGS, 0)
    return Request(Message.NEWTABLE, Flag.REQUEST, body, f"clear the flags of table inet {TABLE}")


def new_chain(chain: Chain) -> Request:
    """Make a chain, still without rules."""
    body = wire.string(uapi.Chain.TABLE, TABLE) + wire.string(uapi.Chain.NAME, chain.name)
    if chain.hook:
        body += (
            wire.nested(
                uapi.Chain.HOOK,
                wire.be32(uapi.Hook.HOOKNUM, chain.hook.number),
                wire.be32(uapi.Hook.PRIORITY, chain.hook.priority),
            )
            + wire.be32(uapi.Chain.POLICY, chain.hook.policy)
            + wire.string(uapi.Chain.TYPE, chain.hook.type)
        )
    if chain.comment:
        body += wire.comment(uapi.Chain.USERDATA, chain.comment)
    return Request(Message.NEWCHAIN, _NEW, body, f"create chain {chain.name}")


def new_rules(chain: str, rules: Iterable[Rule], numbers: Iterator[int]) -> Iterator[Request]:
    """Append rules, and before each the anonymous sets it needs; `numbers` are unused ones in the transaction."""
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
            wire.string(uapi.Rule.TABLE, TABLE)
            + wire.string(uapi.Rule.CHAIN, chain)
            + wire.nested(uapi.Rule.EXPRESSIONS, *encoded)
        )
        if rule.comment:
            body += wire.comment(uapi.Rule.USERDATA, rule.comment)
        yield Request(Message.NEWRULE, Flag.REQUEST | Flag.CREATE | Flag.APPEND, body, what, joined=True)


def new_map(header: MapHeader) -> Request:
    """Make a verdict map, still empty. Constant: once a rule uses it nobody can add or remove elements."""
    encoded = header.comment.encode() + b"\0"
    body = (
        wire.string(uapi.Set.TABLE, TABLE)
        + wire.string(uapi.Set.NAME, header.name)
        + wire.be32(uapi.Set.FLAGS, _MAP_FLAGS)
        + wire.be32(uapi.Set.KEY_TYPE, header.key)
        + wire.be32(uapi.Set.KEY_LEN, KEY_LENGTH[header.key])
        + wire.be32(uapi.Set.DATA_TYPE, uapi.NFT_DATA_VERDICT)
        + wire.be32(uapi.Set.DATA_LEN, 0)
        + wire.be32(uapi.Set.ID, 0)
        + wire.attribute(
            uapi.Set.USERDATA,
            _BIG_ENDIAN_KEYS + _TYPEOF.get(header.key, b"") + bytes((uapi.UDATA_SET_COMMENT, len(encoded))) + encoded,
        )
    )
    return Request(Message.NEWSET, _NEW, body, f"create map {header.name}")


def new_elements(map_: Map) -> Iterator[Request]:
    """Fill a map."""
    for items in elements.lists(map_.content):
        yield _elements(map_.header.name, items, f"fill map {map_.header.name}")


def new_counter(name: str, packets: int = 0, size: int = 0) -> Request:
    """Make a named counter that stands at so many packets and bytes."""
    body = _object(name) + wire.nested(
        uapi.Object.DATA,
        wire.be64(uapi.Counter.BYTES, size),
        wire.be64(uapi.Counter.PACKETS, packets),
    )
    return Request(Message.NEWOBJ, _NEW, body, f"create counter {name}")


# --- removing -------------------------------------------------------------------------------------------------------


def delete_table() -> Request:
    """Remove the table with all that is in it."""
    return Request(Message.DELTABLE, Flag.REQUEST, wire.string(uapi.Table.NAME, TABLE), f"delete table inet {TABLE}")


def delete_rules(chain: str) -> Request:
    """Remove all rules of a chain."""
    body = wire.string(uapi.Rule.TABLE, TABLE) + wire.string(uapi.Rule.CHAIN, chain)
    return Request(Message.DELRULE, Flag.REQUEST, body, f"delete the rules of chain {chain}")


def delete_chain(chain: str) -> Request:
    """Remove a chain that nothing leads to."""
    body = wire.string(uapi.Chain.TABLE, TABLE) + wire.string(uapi.Chain.NAME, chain)
    return Request(Message.DELCHAIN, Flag.REQUEST, body, f"delete chain {chain}")


def delete_set(name: str) -> Request:
    """Remove a map or set that no rule uses."""
    body = wire.string(uapi.Set.TABLE, TABLE) + wire.string(uapi.Set.NAME, name)
    return Request(Message.DELSET, Flag.REQUEST, body, f"delete map {name}")


def delete_counter(name: str) -> Request:
    """Remove a counter that no rule uses."""
    return delete_object(uapi.NFT_OBJECT_COUNTER, name)


def delete_object(kind: int, name: str) -> Request:
    """Remove a counter, quota, limit or whatever else has a name and that no rule uses."""
    what = "counter" if kind == uapi.NFT_OBJECT_COUNTER else "object"
    return Request(Message.DELOBJ, Flag.REQUEST, _object(name, kind), f"delete {what} {name}")


def delete_flowtable(name: str) -> Request:
    """Remove a flowtable that no rule uses."""
    body = wire.string(uapi.Flowtable.TABLE, TABLE) + wire.string(uapi.Flowtable.NAME, name)
    return Request(Message.DELFLOWTABLE, Flag.REQUEST, body, f"delete flowtable {name}")


# --- reading --------------------------------------------------------------------------------------------------------


def get_generation() -> Request:
    """Ask for the number of the last transaction: answered wherever nf_tables works and may be used."""
    return Request(Message.GETGEN, Flag.REQUEST | Flag.ACK, b"", "use nf_tables")


def get_base() -> Request:
    """Ask for the base chain, without its rules."""
    body = wire.string(uapi.Chain.TABLE, TABLE) + wire.string(uapi.Chain.NAME, BASE)
    return Request(Message.GETCHAIN, Flag.REQUEST | Flag.ACK, body, f"read chain {BASE}")


def get_table() -> Request:
    """Ask for the table itself."""
    return Request(
        Message.GETTABLE, Flag.REQUEST | Flag.ACK, wire.string(uapi.Table.NAME, TABLE), f"read table inet {TABLE}"
    )


def dump(kind: Message, what: str) -> Request:
    """Ask for all chains, rules, sets, objects or flowtables of the table. Chains of other tables come along."""
    body = wire.string(_TABLE_ATTRIBUTE[kind], TABLE)
    return Request(kind, Flag.REQUEST | Flag.DUMP, body, f"read the {what} of table inet {TABLE}")


def dump_counters() -> Request:
    """Ask for all counters of the table."""
    body = wire.string(uapi.Object.TABLE, TABLE) + wire.be32(uapi.Object.TYPE, uapi.NFT_OBJECT_COUNTER)
    return Request(Message.GETOBJ, Flag.REQUEST | Flag.DUMP, body, f"read the counters of table inet {TABLE}")


def dump_rules(chain: str) -> Request:
    """Ask for the rules of one chain."""
    body = wire.string(uapi.Rule.TABLE, TABLE) + wire.string(uapi.Rule.CHAIN, chain)
    return Request(Message.GETRULE, Flag.REQUEST | Flag.DUMP, body, f"read the rules of chain {chain}")


def dump_elements(name: str) -> Request:
    """Ask for all elements of a map or set."""
    body = wire.string(uapi.Elements.TABLE, TABLE) + wire.string(uapi.Elements.SET, name)
    return Request(Message.GETSETELEM, Flag.REQUEST | Flag.DUMP, body, f"read map {name}")


def get_element(name: str, address: bytes, *, end: bool = False) -> Request:
    """Ask for the interval that holds an address: its first element comes back, or the one that ends it, or ENOENT."""
    flags = [wire.be32(uapi.Element.FLAGS, uapi.NFT_SET_ELEM_INTERVAL_END)] if end else []
    body = (
        wire.string(uapi.Elements.TABLE, TABLE)
        + wire.string(uapi.Elements.SET, name)
        + wire.nested(uapi.Elements.ELEMENTS, elements.element(address, *flags))
    )
    return Request(Message.GETSETELEM, Flag.REQUEST | Flag.ACK, body, f"look up in map {name}")


def read_chain(found: Mapping[int, memoryview], rules: tuple[Rule, ...]) -> Chain:
    """Read an answer to `dump` of chains; its rules come from another dump."""
    hook = None
    if uapi.Chain.HOOK in found:
        at = wire.parse(found[uapi.Chain.HOOK])
        hook = Hook(
            wire.text(found[uapi.Chain.TYPE]),
            wire.number(at[uapi.Hook.HOOKNUM]),
            wire.signed(at[uapi.Hook.PRIORITY]),
            wire.number(found[uapi.Chain.POLICY]),
        )
    comment = wire.comment_text(found.get(uapi.Chain.USERDATA))
    return Chain(wire.text(found[uapi.Chain.NAME]), comment, rules, hook)


def read_elements(data: memoryview) -> memoryview:
    """The list of elements in an answer to `dump_elements` or `get_element`."""
    return wire.parse(data).get(uapi.Elements.ELEMENTS, memoryview(b""))


def read_rule(data: memoryview, choices: Mapping[str, Choice]) -> tuple[str, Rule]:
    """Read an answer to `dump` of rules: the chain's name and the rule."""
    found = wire.parse(data)
    items = wire.attributes(found.get(uapi.Rule.EXPRESSIONS, memoryview(b"")))
    decoded = tuple(expressions.decode(item, choices) for _, item in items)
    return wire.text(found[uapi.Rule.CHAIN]), Rule(decoded, wire.comment_text(found.get(uapi.Rule.USERDATA)))


def read_map(found: Mapping[int, memoryview]) -> MapHeader | None:
    """Read an answer to `dump` of sets; None if it is not a map as geodrop makes them."""
    key = wire.number_in(found, uapi.Set.KEY_TYPE)
    if (
        wire.number_in(found, uapi.Set.FLAGS) != _MAP_FLAGS
        or key not in set(KEY_LENGTH)
        or wire.number_in(found, uapi.Set.KEY_LEN) != KEY_LENGTH[KeyType(key)]
        or wire.number_in(found, uapi.Set.DATA_TYPE) != uapi.NFT_DATA_VERDICT
    ):
        return None
    comment = wire.comment_text(found.get(uapi.Set.USERDATA), uapi.UDATA_SET_COMMENT)
    return MapHeader(wire.text(found[uapi.Set.NAME]), comment, KeyType(key))


def read_object(data: memoryview) -> tuple[int, str]:
    """Read an answer to `dump` of objects: type and name."""
    found = wire.parse(data)
    return wire.number_in(found, uapi.Object.TYPE), wire.text(found[uapi.Object.NAME])


def read_generation(data: memoryview) -> int:
    """Read the answer to `get_generation`: the number of the last transaction, whoever made it."""
    return wire.number_in(wire.parse(data), uapi.Generation.ID)


def read_counter(data: memoryview) -> tuple[str, tuple[int, int]]:
    """Read an answer to `dump` of counters: name, packets and bytes."""
    found = wire.parse(data)
    values = wire.parse(found[uapi.Object.DATA])
    packets, octets = wire.number(values[uapi.Counter.PACKETS]), wire.number(values[uapi.Counter.BYTES])
    return wire.text(found[uapi.Object.NAME]), (packets, octets)


def _new_choice(choice: Choice, number: int, what: str) -> Iterator[Request]:
    flags = SetFlag.ANONYMOUS | SetFlag.CONSTANT | (SetFlag.INTERVAL if choice.interval else SetFlag(0))
    body = (
        wire.string(uapi.Set.TABLE, TABLE)
        + wire.string(uapi.Set.NAME, _ANONYMOUS)
        + wire.be32(uapi.Set.FLAGS, flags)
        + wire.be32(uapi.Set.KEY_TYPE, choice.type)
        + wire.be32(uapi.Set.KEY_LEN, choice.length)
        + wire.be32(uapi.Set.ID, number)
        + wire.attribute(
            # A text turned over would be listed from its end.
            uapi.Set.USERDATA,
            _HOST_ENDIAN_KEYS if choice.type is KeyType.IFNAME else _BIG_ENDIAN_KEYS,
        )
    )
    yield Request(Message.NEWSET, _NEW, body, what)
    by_number = wire.be32(uapi.Elements.SET_ID, number)
    yield replace(_elements(_ANONYMOUS, elements.choice_elements(choice), what, by_number), joined=True)


def _elements(name: str, items: bytes, what: str, more: bytes = b"") -> Request:
    body = (
        wire.string(uapi.Elements.TABLE, TABLE)
        + wire.string(uapi.Elements.SET, name)
        + more
        + wire.attribute(uapi.Elements.ELEMENTS, items)
    )
    return Request(Message.NEWSETELEM, Flag.REQUEST | Flag.CREATE, body, what)


def _object(name: str, kind: int = uapi.NFT_OBJECT_COUNTER) -> bytes:
    return (
        wire.string(uapi.Object.TABLE, TABLE) + wire.string(uapi.Object.NAME, name) + wire.be32(uapi.Object.TYPE, kind)
    )
