# SPDX-License-Identifier: Apache-2.0
"""Read the table back from the kernel, in the types it was made from."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.engine.api import Scope, Window
from geodrop.errors import UnavailableError
from geodrop.linux import clock, netlink
from geodrop.nftables import exempt, matches, names, render
from geodrop.nftables.model import Expiry, Snapshot
from geodrop.nftables.netlink import elements, messages, timed, uapi, windows, wire
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
class Led:
    """A generation that rules lead to; `stamp` is None if another program changed its chain's comment.

    `regions` tells whether its rules count by region what would else count as `other`. Generation 0 stands for none.
    """

    generation: int = 0
    stamp: Stamp | None = None
    regions: bool = False

    @property
    def digest(self) -> str:
        """The digest of its ruleset; empty if it is not known."""
        return self.stamp.digest if self.stamp else ""


@dataclass(frozen=True, slots=True)
class InWindow:
    """What rules lead to while the window is open, and afterwards. `expiry` is None if it is over."""

    new: Led
    previous: Led
    expiry: Expiry | None


@dataclass(frozen=True, slots=True)
class InForce(Led):
    """The generation that packets are led to now; 0 if a window is over and nothing was in force before it.

    `base` is the generation that an overlay stands on; the overlay's rules look up its maps too.
    """

    scope: Scope = field(default_factory=lambda: Scope(()))
    base: int | None = None
    window: InWindow | None = None

    def observed_window(self) -> Window | None:
        """Return the window for engine.api.Observed."""
        if self.window is None:
            return None
        new, previous, expiry = self.window.new, self.window.previous, self.window.expiry
        deadline = expiry.earliest if expiry else 0
        return Window(new.generation, new.digest, previous.generation, previous.digest, deadline, expiry is None)

    @property
    def led_to(self) -> dict[int, str]:
        """The digests of the generations that rules lead to, now or after the window, by their numbers."""
        found = (self.window.new, self.window.previous) if self.window else (self,)
        return {one.generation: one.digest for one in found if one.generation}


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
    found_sets = _read_sets(connection)
    choices = found_sets.choices
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
        comment,
        flags,
        chains,
        found_sets.maps,
        tuple(found_sets.others),
        counted,
        tuple(objects),
        _flowtables(connection),
        found_sets.own_sets,
        found_sets.windows,
    )


def fingerprint(connection: Connection) -> bytes:
    """Hash the kernel's description of the table without counts; equal hashes mean that nothing was changed.

    Far cheaper than `read`. Handles are included, so a rule that was deleted and added again gives another hash,
    though it means the same. Elements are left out: those of a map that rules use cannot be changed (see
    messages.new_map). Of a window it holds only whether it is over. Empty if there is no table.
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
                said.update(_of_a_window(connection, answer) if kind is Message.GETSET else answer)
    return said.digest()


def _of_a_window(connection: Connection, answer: memoryview) -> bytes | memoryview:
    """Describe a set by itself, but of a window only its name and whether it is over."""
    found = wire.parse(answer)
    name = wire.text(found[uapi.SetAttribute.NAME])
    if not (windows.is_window(found) and names.is_window(name)):
        return answer
    return f"{name} {read_expiry(connection, name) is None}".encode()


def read_base(connection: Connection) -> Chain | None:
    """Return the base chain with its rules; None if there is none."""
    [answer] = connection.ask([messages.get_base()])
    if answer is None:
        return None
    choices = _read_sets(connection).choices
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
    entries, scope = _entries(base)
    led = [(one, asked) for chain, asked in entries if (one := _led(snapshot, chain)).generation]
    now = next((one for one, asked in led if not asked), Led())
    for new, asked in led:
        if asked:
            window = InWindow(new, now, snapshot.windows.get(asked))
            now = new if window.expiry else now
            return InForce(now.generation, now.stamp, now.regions, scope, None, window)
    if not now.generation:
        return None
    return InForce(now.generation, now.stamp, now.regions, scope, _base(snapshot, now.generation))


def _entries(base: Chain) -> tuple[list[tuple[str, str]], Scope]:
    """Return the chains that the base chain leads to, each with the window that its rule asks ("": none); and where."""
    entries, interfaces, elsewhere, why = [], [], [], {}
    for rule in base.rules:
        match rule.expressions:
            case (*before, RuleVerdict(VerdictCode.GOTO, chain)):
                selector, asked = matches.window_of(tuple(before))
                if name := matches.interface_name(selector):
                    interfaces.append(name)
                    entries.append((chain, asked))
                    if reason := render.reason_in(rule.comment):
                        why[name] = reason
            case (*before, RuleVerdict(VerdictCode.ACCEPT)) if number := matches.number_of(tuple(before)):
                elsewhere.append(number)
    return entries, Scope(tuple(dict.fromkeys(interfaces)), tuple(elsewhere), why)


def _led(snapshot: Snapshot, entry: str) -> Led:
    generation = names.generation_of(entry)
    if generation is None or entry not in snapshot.chains:
        return Led()
    return Led(generation, Stamp.parse(snapshot.chains[entry].comment), tells_apart(snapshot, generation))


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


def read_expiry(connection: Connection, name: str) -> Expiry | None:
    """Return when a window ends; None if it is over."""
    asked = clock.monotonic()
    left = windows.milliseconds_left(dump_elements(connection, name))
    read_at = clock.monotonic()
    return None if left is None else Expiry(asked + left * 10**6, read_at + left * 10**6)


@dataclass(slots=True)
class _Sets:
    """The table's sets: our maps, sets and windows, the anonymous sets inside rules, and the names of all others."""

    maps: dict[str, MapHeader] = field(default_factory=dict)
    own_sets: dict[str, SetHeader] = field(default_factory=dict)
    windows: dict[str, Expiry | None] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def _read_sets(connection: Connection) -> _Sets:
    read_in = _Sets()
    for answer in connection.dump(messages.dump(Message.GETSET, "maps")):
        found = wire.parse(answer)
        name = wire.text(found[uapi.SetAttribute.NAME])
        if header := messages.read_map(found):
            read_in.maps[name] = header
        elif name in _OWN_SETS and (own := timed.read_set(found)):
            read_in.own_sets[name] = own
        elif choice := _read_choice(connection, name, found):
            read_in.choices[name] = choice
        elif windows.is_window(found) and names.is_window(name):
            read_in.windows[name] = read_expiry(connection, name)
        elif SetFlag.ANONYMOUS not in SetFlag(wire.number_in(found, uapi.SetAttribute.FLAGS)):
            read_in.others.append(name)
    return read_in


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
