"""Read the table back from the kernel, in the types it was made from."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.engine.api import Scope
from geodrop.errors import UnavailableError
from geodrop.linux import netlink
from geodrop.nftables import exempt, matches, names, render
from geodrop.nftables.model import Snapshot
from geodrop.nftables.netlink import elements, messages, timed, uapi, wire
from geodrop.nftables.netlink.connection import RefusedError
from geodrop.nftables.netlink.expressions import Choice, RuleVerdict, VerdictMap
from geodrop.nftables.netlink.uapi import KeyType, Message, SetFlag, VerdictCode
from geodrop.nftables.stamp import Stamp

if TYPE_CHECKING:
    from geodrop.nftables.model import Chain, MapHeader, Rule, SetHeader
    from geodrop.nftables.netlink.connection import Connection

MARK = "geodrop"
"""The comment of our table begins with this. A table of our name without it belongs to another program."""

READS = 5
"""How often the table is read if commits interrupt the reading, which takes several requests."""

_OWN_SETS = {one.name for one in render.EXEMPT_SETS}

TABLE_COMMENT = "geodrop: drops packets from regions that a service does not support; see: geodrop status"


@dataclass(frozen=True, slots=True)
class InForce:
    """The generation that packets are led to; `stamp` is None if another program changed its chain's comment.

    `base` is the generation that an overlay stands on; the overlay's rules look up its maps too. `regions` tells
    whether its rules count by region what would else count as `other`.
    """

    generation: int
    stamp: Stamp | None
    scope: Scope
    base: int | None = None
    regions: bool = False

    @property
    def digest(self) -> str:
        """The digest of its ruleset; empty if it is not known."""
        return self.stamp.digest if self.stamp else ""


def read_table(connection: Connection) -> tuple[str, int] | None:
    """Return comment and flags of our table; None if there is none.
    Raises UnavailableError if another program made it.
    """
    [answer] = connection.ask([messages.get_table()])
    if answer is None:
        return None
    found = wire.parse(answer)
    comment = wire.comment_text(found.get(uapi.TableAttribute.USERDATA))
    if not comment.startswith(MARK):
        raise UnavailableError(
            f"there is a table inet {names.TABLE} that geodrop did not make",
            f"look at it with: nft list table inet {names.TABLE}; delete or rename it",
        )
    return comment, wire.number_in(found, uapi.TableAttribute.FLAGS)


def read(connection: Connection) -> Snapshot | None:
    """Return the whole table without the elements of its maps; None if there is none. Raises as `read_table` does.

    The snapshot shows the state between two commits, unless other programs commit all the time.
    """
    for _ in range(READS - 1):
        before = connection.ask([messages.get_generation()])
        try:
            found = _read(connection)
        except RefusedError as error:
            # What was listed is gone before its elements were read: there was a commit in between.
            if error.errno == errno.ENOENT:
                continue
            raise
        if connection.ask([messages.get_generation()]) == before:
            return found
    return _read(connection)


def _read(connection: Connection) -> Snapshot | None:
    table = read_table(connection)
    if table is None:
        return None
    maps, own_sets, choices, others = _read_sets(connection)
    rules: dict[str, tuple[Rule, ...]] = {}
    for answer in connection.dump(messages.dump(Message.GETRULE, "rules")):
        chain, rule = messages.read_rule(answer, choices)
        rules[chain] = (*rules.get(chain, ()), rule)
    chains: dict[str, Chain] = {}
    for answer in connection.dump(messages.dump(Message.GETCHAIN, "chains")):
        found = wire.parse(answer)
        if wire.text(found[uapi.ChainAttribute.TABLE]) == names.TABLE:
            name = wire.text(found[uapi.ChainAttribute.NAME])
            chains[name] = messages.read_chain(found, rules.get(name, ()))
    comment, flags = table
    counted, objects = {}, []
    for answer in connection.dump(messages.dump(Message.GETOBJ, "objects")):
        kind, name = messages.read_object(answer)
        if kind == uapi.NFT_OBJECT_COUNTER and names.counter(name):
            counted[name] = messages.read_counter(answer)[1]
        else:
            objects.append((kind, name))
    return Snapshot(
        comment, flags, chains, maps, tuple(others), counted, tuple(objects), _flowtables(connection), own_sets
    )


def fingerprint(connection: Connection) -> bytes:
    """Hash the kernel's description of the table without counts; equal hashes mean that nothing was changed.

    Far cheaper than `read`. Handles are included, so a rule that was deleted and added again gives another hash,
    though it means the same. Elements are left out: those of a map that rules use cannot be changed (see
    messages.new_map). Empty if there is no table.
    """
    [table] = connection.ask([messages.get_table()])
    if table is None:
        return b""
    said = hashlib.blake2b(table)
    # Named objects without their counts.
    said.update(repr([*map(messages.read_object, connection.dump(messages.dump(Message.GETOBJ, "objects")))]).encode())
    said.update(repr(_flowtables(connection)).encode())
    said.update(repr(exempt.description(connection)).encode())
    for kind, what in ((Message.GETSET, "maps"), (Message.GETRULE, "rules"), (Message.GETCHAIN, "chains")):
        for answer in connection.dump(messages.dump(kind, what)):
            # The kernel sends chains of all tables; the table's name is the first attribute of each message.
            if wire.text(next(netlink.attributes(answer))[1]) == names.TABLE:
                said.update(answer)
    return said.digest()


def read_base(connection: Connection) -> Chain | None:
    """Return the base chain with its rules; None if there is none."""
    [answer] = connection.ask([messages.get_base()])
    if answer is None:
        return None
    _, _, choices, _ = _read_sets(connection)
    dumped = connection.dump(messages.dump_rules(names.BASE))
    return messages.read_chain(wire.parse(answer), tuple(messages.read_rule(rule, choices)[1] for rule in dumped))


def counters(connection: Connection) -> dict[str, tuple[int, int]]:
    """Return packets and bytes of all named counters."""
    return dict(map(messages.read_counter, connection.dump(messages.dump_counters())))


def dump_elements(connection: Connection, name: str) -> list[memoryview]:
    """Return all elements of a map or set, as lists of elements in netlink's form."""
    return [messages.read_elements(answer) for answer in connection.dump(messages.dump_elements(name))]


def in_force(snapshot: Snapshot | None) -> InForce | None:
    """Return the generation that the base chain's rules lead to; None if no packet is judged."""
    if snapshot is None or snapshot.flags & uapi.NFT_TABLE_F_DORMANT:
        return None
    base = snapshot.chains.get(names.BASE)
    if base is None or base.hook is None:
        return None
    interfaces, entries, elsewhere, why = [], [], [], {}
    for rule in base.rules:
        match rule.expressions:
            case (*selector, RuleVerdict(VerdictCode.GOTO, chain)) if name := matches.interface_name(tuple(selector)):
                interfaces.append(name)
                entries.append(chain)
                if reason := render.reason_in(rule.comment):
                    why[name] = reason
            case (*selector, RuleVerdict(VerdictCode.ACCEPT)) if number := matches.number_of(tuple(selector)):
                elsewhere.append(number)
    scope = Scope(tuple(interfaces), tuple(elsewhere), why)
    for entry in entries:
        generation = names.generation_of(entry)
        if generation is not None and entry in snapshot.chains:
            stamp = Stamp.parse(snapshot.chains[entry].comment)
            return InForce(generation, stamp, scope, _base(snapshot, generation), tells_apart(snapshot, generation))
    return None


def tells_apart(snapshot: Snapshot, generation: int) -> bool:
    """Tell whether rules of a generation look up region maps."""
    return any(
        isinstance(part, VerdictMap) and names.is_region_map(part.name)
        for chain in snapshot.chains.values()
        if names.generation_of(chain.name) == generation
        for rule in chain.rules
        for part in rule.expressions
    )


def _base(snapshot: Snapshot, generation: int) -> int | None:
    for chain in snapshot.chains.values():
        if names.generation_of(chain.name) == generation:
            for rule in chain.rules:
                match rule.expressions:
                    case (*_, VerdictMap(name)) if (found := names.generation_of(name)) != generation:
                        return found
    return None


def _flowtables(connection: Connection) -> tuple[str, ...]:
    """Return the names of the table's flowtables; empty if the kernel does not support flowtables."""
    try:
        answers = connection.dump(messages.dump(Message.GETFLOWTABLE, "flowtables"))
    except UnavailableError:
        return ()
    found = map(wire.parse, answers)
    return tuple(
        wire.text(one[uapi.FlowtableAttribute.NAME])
        for one in found
        if wire.text(one[uapi.FlowtableAttribute.TABLE]) == names.TABLE
    )


def _read_sets(
    connection: Connection,
) -> tuple[dict[str, MapHeader], dict[str, SetHeader], dict[str, Choice], list[str]]:
    """Return our maps, our sets, the anonymous sets inside rules, and the names of all other named sets and maps."""
    maps, own_sets, choices, others = {}, {}, {}, []
    for answer in connection.dump(messages.dump(Message.GETSET, "maps")):
        found = wire.parse(answer)
        name = wire.text(found[uapi.SetAttribute.NAME])
        if header := messages.read_map(found):
            maps[name] = header
        elif name in _OWN_SETS and (own := timed.read_set(found)):
            own_sets[name] = own
        elif choice := _read_choice(connection, name, found):
            choices[name] = choice
        elif SetFlag.ANONYMOUS not in SetFlag(wire.number_in(found, uapi.SetAttribute.FLAGS)):
            others.append(name)
    return maps, own_sets, choices, others


def _read_choice(connection: Connection, name: str, found: dict[int, memoryview]) -> Choice | None:
    flags = SetFlag(wire.number_in(found, uapi.SetAttribute.FLAGS))
    if SetFlag.ANONYMOUS not in flags or SetFlag.MAP in flags:
        return None
    length = wire.number_in(found, uapi.SetAttribute.KEY_LEN)
    dumped = elements.decode(dump_elements(connection, name))
    ranges = elements.ranges(dumped, length, interval=SetFlag.INTERVAL in flags)
    try:
        key = KeyType(wire.number_in(found, uapi.SetAttribute.KEY_TYPE))
    except ValueError:
        return None
    return Choice(key, length, tuple((first, last) for first, last, _ in ranges))
