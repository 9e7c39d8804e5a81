# SPDX-License-Identifier: Apache-2.0
"""Look up an address in the loaded table: walk its chains as the kernel would, and let the kernel do the lookups.

The walk knows only a packet's source address, and that the packet is no fragment. A rule that reads anything else, such
as a port, does not apply. The kernel does the same where it cannot read what a rule needs.
"""

from __future__ import annotations

import ipaddress
import operator
import sys
from typing import TYPE_CHECKING

from geodrop.engine.api import KernelVerdict
from geodrop.nftables import matches, names
from geodrop.nftables.model import Rule, Space
from geodrop.nftables.netlink import uapi
from geodrop.nftables.netlink.expressions import (
    DROP,
    Bitwise,
    Cmp,
    Hash,
    HostToNetwork,
    InSet,
    MetaLoad,
    NamedCounter,
    OneOf,
    Payload,
    Reject,
    RuleVerdict,
    VerdictMap,
)
from geodrop.nftables.netlink.uapi import CmpOp, MetaKey, PayloadBase, VerdictCode
from geodrop.ruleset.ramp import jhash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.nftables.answers import Answers
    from geodrop.nftables.model import Chain, Snapshot
    from geodrop.nftables.netlink.expressions import Expression

_COMPARE = {
    CmpOp.EQ: operator.eq,
    CmpOp.NEQ: operator.ne,
    CmpOp.LT: operator.lt,
    CmpOp.LTE: operator.le,
    CmpOp.GT: operator.gt,
    CmpOp.GTE: operator.ge,
}


class Walk:
    """One address on its way through the chains of one service; `now` in seconds since the epoch."""

    def __init__(self, answers: Answers, snapshot: Snapshot, address: str, now: float) -> None:
        self._answers = answers
        self._chains: Mapping[str, Chain] = snapshot.chains
        source = ipaddress.ip_address(address)
        offset = matches.SOURCE[source.version].offset
        self._header = bytes(offset) + source.packed
        self._source_at = offset
        self._transport = b""
        family = uapi.NFPROTO_IPV4 if source.version == 4 else uapi.NFPROTO_IPV6
        self._known: Mapping[Expression, bytes] = {
            MetaLoad(MetaKey.NFPROTO): bytes([family]),
            MetaLoad(MetaKey.TIME_NS): int(now * 1e9).to_bytes(8, sys.byteorder),
            MetaLoad(MetaKey.MARK): bytes(4),
        }
        self._windows = snapshot.windows
        self._lookups: list[str] = []
        self._counter: names.CounterName | None = None
        self._target = ""

    def through(self, service: str, generation: int) -> KernelVerdict:
        """Return the verdict for a packet that the service takes, from where the service receives it."""
        verdict = self._chain(names.service_chain(generation, service), self._entry(service, generation))
        what = self._counter.what if self._counter else ""
        where = ", then ".join(self._lookups) or "no map"
        said = "drop" if verdict is VerdictCode.DROP else "accept"
        would_drop, exempted = what in {"dropped", "would_drop", "exempted"}, what == "exempted"
        return KernelVerdict(service, said, where, self._target, would_drop, exempted)

    def _entry(self, service: str, generation: int) -> list[Rule]:
        """Return the rules of the generation chain that look up the service's maps, without their conditions on ports.

        A packet arrives by only one of them, so it is enough to walk one rule for each map.
        """
        sources = {names.service_map(generation, service, space): space.family for space in (Space.IPV4, Space.IPV6)}
        found = {}
        ways = (names.generation_chain(generation), names.way(generation, "readable"))
        for rule in (rule for way in ways if way in self._chains for rule in self._chains[way].rules):
            match rule.expressions:
                case (*_, Payload(PayloadBase.NETWORK) as source, VerdictMap(name)):
                    # The rules of an overlay look up the maps of its base too.
                    if version := sources.get(names.of_generation(name, generation)):
                        found[name] = Rule((*matches.family(version), source, VerdictMap(name)))
        return list(found.values())

    def _chain(self, name: str, before: Sequence[Rule] = ()) -> VerdictCode:
        """Return how a chain ends: accept, drop or return. `before` holds rules on the way to the chain."""
        for rule in (*before, *self._chains[name].rules):
            verdict = self._rule(rule)
            if verdict is None:
                continue
            if verdict.code is VerdictCode.GOTO:
                return self._chain(verdict.chain)
            if verdict.code is not VerdictCode.JUMP:
                return verdict.code
            if (inner := self._chain(verdict.chain)) is not VerdictCode.RETURN:
                return inner
        return VerdictCode.RETURN

    def _rule(self, rule: Rule) -> RuleVerdict | None:
        """Return the verdict of a rule; None if the rule does not apply."""
        loaded = b""
        for part in rule.expressions:
            match part:
                case RuleVerdict():
                    return part
                case Reject():
                    return DROP
                case VerdictMap(name):
                    return self._lookup(name, loaded)
                case NamedCounter(name):
                    self._counter = names.counter(name)
                case Cmp() | OneOf() | InSet():
                    if not self._goes_on(part, loaded):
                        return None
                case _:
                    value = self._load(part, loaded)
                    if value is None:
                        return None
                    loaded = value
        return None

    def _load(self, part: Expression, loaded: bytes) -> bytes | None:
        """Return what an expression loads, or makes of `loaded`; None if the packet's value is not known."""
        match part:
            case _ if part in self._known:
                return self._known[part]
            case Payload(PayloadBase.NETWORK, offset, length) if self._in_source(offset, length):
                return self._header[offset : offset + length]
            case Payload(PayloadBase.TRANSPORT, offset, length) if offset + length <= len(self._transport):
                return self._transport[offset : offset + length]
            case HostToNetwork():
                return loaded[::-1]
            case Hash(length, modulus, seed):
                return (jhash(loaded[:length], seed) * modulus >> 32).to_bytes(4, sys.byteorder)
            case Bitwise(mask, xor):
                return bytes((a & b) ^ c for a, b, c in zip(loaded, mask, xor, strict=True))
        return None

    def _goes_on(self, part: Cmp | OneOf | InSet, loaded: bytes) -> bool:
        """Tell whether a rule applies beyond a comparison."""
        match part:
            case Cmp(op, value):
                return bool(_COMPARE[op](loaded[: len(value)], value))
            case InSet(name) if name in self._windows:
                return self._windows[name] is not None
            case InSet(name):
                return self._answers.holds(name, loaded)
            case OneOf(choice):
                number = int.from_bytes(loaded, "big")
                return any(first <= number <= last for first, last in choice.ranges)

    def _in_source(self, offset: int, length: int) -> bool:
        return self._source_at <= offset and offset + length <= len(self._header)

    def _lookup(self, name: str, key: bytes) -> RuleVerdict | None:
        found, behind = self._answers.of(name, key)
        if found is None:
            self._lookups.append(f"map {name}: no element")
            return None
        first, _, verdict = found
        start = int.from_bytes(first, "big")
        # An interval without an end element reaches to the end of the family. Linux 6.1 answers with the start element
        # if exactly the start was looked up.
        last = max(int.from_bytes(behind[0], "big") - 1, start) if behind else (1 << 8 * len(key)) - 1
        interval = _text(start, len(key)), _text(last, len(key))
        self._lookups.append(f"map {name}: {'-'.join(dict.fromkeys(interval))}")
        self._target = verdict.chain if verdict else ""
        return verdict


def _text(address: int, width: int) -> str:
    return str(ipaddress.IPv4Address(address) if width == 4 else ipaddress.IPv6Address(address))
