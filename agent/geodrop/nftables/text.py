# SPDX-License-Identifier: Apache-2.0
"""Write rules and map elements as text that stock nft reads, from version 1.0.6 on. Pure.

Nothing is written unchecked: nft takes an unknown word for a host name and asks DNS, and a quote or a line break would
start a new statement. Names must look like names, comments like comments; everything else is written from numbers.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop.errors import DataError
from geodrop.nftables.lookups import INSIDE_KEY
from geodrop.nftables.netlink import uapi
from geodrop.nftables.netlink.expressions import (
    PROHIBITED,
    RESET,
    Bitwise,
    Cmp,
    ExtensionHeader,
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
from geodrop.nftables.netlink.uapi import CmpOp, KeyType, MetaKey, PayloadBase, VerdictCode
from geodrop.ruleset import intervals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geodrop.nftables.model import Content, Rule
    from geodrop.nftables.netlink.expressions import Choice, Expression

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,254}")
_COMMENT = re.compile(r"[A-Za-z0-9 _.,:;()/*%-]{1,128}")
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}\*?")
_IFNAMSIZ = 16

_WORDS = {CmpOp.NEQ: "!=", CmpOp.LT: "<", CmpOp.LTE: "<=", CmpOp.GT: ">", CmpOp.GTE: ">="}
_REJECTS = {RESET: "reject with tcp reset", PROHIBITED: "reject with icmpx type admin-prohibited"}
_FAMILIES = {uapi.NFPROTO_IPV4: "ipv4", uapi.NFPROTO_IPV6: "ipv6"}
_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr")
_CHUNK = 1000
_KEYS = {
    KeyType.IPV4_ADDR: "type ipv4_addr",
    KeyType.IPV6_ADDR: "type ipv6_addr",
    KeyType.INTEGER: f"typeof @nh,{8 * INSIDE_KEY.offset},{8 * INSIDE_KEY.length}",
}


def identifier(name: str) -> str:
    """Return the name of a chain, map or counter. Raises DataError if nft cannot read the name."""
    if not _NAME.fullmatch(name):
        raise DataError(f"{name!r} cannot be the name of anything in nftables", "compile the ruleset again")
    return name


def comment(text: str) -> str:
    """Return a quoted comment; empty if there is none. Raises DataError if nft cannot read the comment."""
    if text and not _COMMENT.fullmatch(text):
        raise DataError(f"{text!r} cannot be a comment in nftables", "compile the ruleset again")
    return f'comment "{text}"' if text else ""


def is_interface(name: str) -> bool:
    """Tell whether a text can be an interface name (or several, if it ends in `*`) and can be written in nft text."""
    return bool(_INTERFACE.fullmatch(name))


def rule(given: Rule) -> str:
    """Write one rule. Raises DataError for names that nft cannot read, ValueError for expressions we never use."""
    words: list[str] = []
    field: _Field | None = None
    protocol = 0
    parts = iter((*given.expressions, None))
    part = next(parts)
    while part is not None:
        following = next(parts)
        match part:
            case MetaLoad() | Payload() | ExtensionHeader():
                field = _field(part, protocol)
            case HostToNetwork():
                pass  # nft adds the conversion by itself
            case Bitwise() | Hash() if field:
                field = field.changed(part)
            case Cmp(CmpOp.GTE, first) if field and isinstance(following, Cmp) and following.op is CmpOp.LTE:
                words.append(field.is_in(f"{field.write(first)}-{field.write(following.value)}"))
                following = next(parts)
            case Cmp(op, value) if field:
                if field.text == _PROTOCOL and op is CmpOp.EQ:
                    protocol = value[0]
                words.append(field.compared(op, value))
            case OneOf(choice) if field:
                words.append(field.is_in(field.choice(choice)))
            case VerdictMap(name) | InSet(name) if field:
                words.append(f"{field.text} {'vmap ' if isinstance(part, VerdictMap) else ''}@{identifier(name)}")
            case _:
                words.append(_statement(part))
        part = following
    return " ".join(filter(None, (*words, comment(given.comment))))


def elements(content: Content, key: KeyType) -> Iterator[str]:
    """Yield the elements of a map as text, a thousand at a time, each element followed by a comma."""
    write = _number if key is KeyType.INTEGER else _address
    ends = [verdict(one) for one in content.verdicts]
    for first in range(0, len(content), _CHUNK):
        part = content.part(first, first + _CHUNK)
        yield "".join(
            f"{interval} : {ends[target]},\n"
            for interval, target in zip(_intervals(part, write), part.targets, strict=True)
        )


def key(given: KeyType) -> str:
    """Write the type of a map's keys."""
    return _KEYS[given]


def verdict(given: RuleVerdict) -> str:
    """Write the verdict of a rule or of an element."""
    word = given.code.name.lower()
    return f"{word} {identifier(given.chain)}" if given.code in {VerdictCode.GOTO, VerdictCode.JUMP} else word


def _intervals(part: Content, write: Callable[[bytes], str]) -> Iterator[str]:
    width = part.width
    for at in range(0, len(part.starts), width):
        start = bytes(part.starts[at : at + width])
        last = intervals.packed(intervals.last_before(part.ends[at : at + width]), width)
        yield write(start) if start == last else f"{write(start)}-{write(last)}"


def _statement(part: Expression) -> str:
    match part:
        case NamedCounter(name):
            return f'counter name "{identifier(name)}"'
        case RuleVerdict():
            return verdict(part)
        case Reject() if part in _REJECTS:
            return _REJECTS[part]
    raise ValueError(f"no text for {part}")


@dataclass(frozen=True, slots=True)
class _Field:
    """A loaded field: nft's name for it, and how to write its values. `implied` is the mask that the name includes."""

    text: str
    write: Callable[[bytes], str]
    implied: bytes = b""

    def changed(self, part: Bitwise | Hash) -> _Field:
        """Return what an expression makes of the field."""
        if isinstance(part, Hash):
            return _Field(f"jhash {self.text} mod {part.modulus} seed {part.seed:#x}", _number)
        return self.masked(part.mask, part.xor)

    def masked(self, mask: bytes, xor: bytes) -> _Field:
        """Return the field with a mask and an inversion (xor) applied."""
        text = self.text
        if mask not in {self.implied, b"\xff" * len(mask)}:
            text += f" & {self.write(mask)}"
        if any(xor):
            text += f" ^ {self.write(xor)}"
        return replace(self, text=text)

    def is_in(self, values: str) -> str:
        """Write a match of a range or a set."""
        return f"{self.text} {self._equals}{values}"

    def choice(self, choice: Choice) -> str:
        """Write some values and ranges, in braces."""
        ends = [[self.write(end.to_bytes(choice.length, "big")) for end in pair] for pair in choice.ranges]
        return "{ " + ", ".join("-".join(dict.fromkeys(pair)) for pair in ends) + " }"

    def compared(self, op: CmpOp, value: bytes) -> str:
        """Write a match by comparison."""
        word = self._equals if op is CmpOp.EQ else f"{_WORDS[op]} "
        return f"{self.text} {word}{self.write(value)}"

    @property
    def _equals(self) -> str:
        # nft itself omits the operator behind a plain name.
        return "== " if "&" in self.text else ""


def _number(value: bytes) -> str:
    return str(int.from_bytes(value, "big"))


def _address(value: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)


def _interface(value: bytes) -> str:
    name = value.rstrip(b"\0").decode("ascii", "replace") + ("" if len(value) == _IFNAMSIZ else "*")
    if not is_interface(name):
        raise DataError(f"{name!r} cannot be the name of an interface in nft text", "name another")
    return f'"{name}"'


def _flags(value: bytes) -> str:
    names = [name for bit, name in enumerate(_FLAGS) if value[0] >> bit & 1]
    return f"({' | '.join(names)})" if len(names) > 1 else (names or ["0"])[0]


_PROTOCOL = "meta l4proto"
_META = {
    MetaKey.IIFNAME: _Field("iifname", _interface),
    MetaKey.NFPROTO: _Field("meta nfproto", lambda value: _FAMILIES[value[0]]),
    MetaKey.L4PROTO: _Field(_PROTOCOL, _number),
    # nft reads a number as seconds since the epoch, but a date in the time zone of the user who loads it.
    MetaKey.TIME_NS: _Field("meta time", lambda value: str(int.from_bytes(value, "big") // 10**9)),
}
_PAYLOAD = {
    (PayloadBase.NETWORK, 6, 2): _Field("ip frag-off", _number),
    (PayloadBase.NETWORK, 6, 1): _Field("ip6 nexthdr", _number),
    (PayloadBase.NETWORK, 7, 1): _Field("ip6 hoplimit", _number),
    (PayloadBase.NETWORK, 12, 4): _Field("ip saddr", _address),
    (PayloadBase.NETWORK, 16, 4): _Field("ip daddr", _address),
    (PayloadBase.NETWORK, 8, 16): _Field("ip6 saddr", _address),
    (PayloadBase.NETWORK, 24, 16): _Field("ip6 daddr", _address),
    (PayloadBase.TRANSPORT, 0, 2): _Field("th sport", _number),
    (PayloadBase.TRANSPORT, 2, 2): _Field("th dport", _number),
    (PayloadBase.TRANSPORT, 13, 1): _Field("tcp flags", _flags),
}
_FRAGMENT = 44
_EXTENSION = {
    ExtensionHeader(0, 0, 1): _Field("hbh nexthdr", _number),
    ExtensionHeader(_FRAGMENT, 0, 1): _Field("frag nexthdr", _number),
    ExtensionHeader(_FRAGMENT, 2, 2): _Field(
        "frag frag-off", lambda value: str(int.from_bytes(value, "big") >> 3), b"\xff\xf8"
    ),
}
_FIRST_BYTE = {
    1: _Field("icmp type", _number),
    51: _Field("ah nexthdr", _number),
    58: _Field("icmpv6 type", _number),
}
_BASES = {PayloadBase.NETWORK: "nh", PayloadBase.TRANSPORT: "th"}


def _field(load: MetaLoad | Payload | ExtensionHeader, protocol: int) -> _Field:
    """Return the field that is loaded; `protocol` is the one that the rule has already checked."""
    if isinstance(load, MetaLoad):
        return _META[load.key]
    if isinstance(load, ExtensionHeader):
        return _EXTENSION[load]
    key = (load.base, load.offset, load.length)
    if key == (PayloadBase.TRANSPORT, 0, 1) and protocol in _FIRST_BYTE:
        return _FIRST_BYTE[protocol]
    raw = f"@{_BASES[load.base]},{8 * load.offset},{8 * load.length}"
    return _PAYLOAD.get(key, _Field(raw, _number))
