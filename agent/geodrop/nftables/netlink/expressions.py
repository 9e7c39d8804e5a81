# SPDX-License-Identifier: Apache-2.0
"""The nf_tables expressions that geodrop's rules use, as values, to and from netlink. Pure.

Each expression reads or writes register 1, as in nft's own rules, so none names a register. Values are in network byte
order. An expression that is read back equals the one that was sent; anything that geodrop never sends becomes `Other`.
Layouts: linux/netfilter/nf_tables.h, nft_*_attributes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.nftables.names import EXEMPT, is_window
from geodrop.nftables.netlink import uapi, wire
from geodrop.nftables.netlink.uapi import (
    CmpOp,
    KeyType,
    MetaKey,
    PayloadBase,
    RejectCode,
    RejectType,
    VerdictCode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Attributes = dict[int, memoryview]


@dataclass(frozen=True, slots=True)
class MetaLoad:
    """Load metadata that the kernel knows about the packet."""

    key: MetaKey

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression("meta", wire.be32(uapi.META_DREG, uapi.NFT_REG_1), wire.be32(uapi.META_KEY, self.key))

    def __str__(self) -> str:
        return f"meta {self.key.name.lower()}"


@dataclass(frozen=True, slots=True)
class Payload:
    """Load bytes of the packet, from the network or transport header on. The rule ends if the packet has none there."""

    base: PayloadBase
    offset: int
    length: int

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression(
            "payload",
            wire.be32(uapi.PAYLOAD_DREG, uapi.NFT_REG_1),
            wire.be32(uapi.PAYLOAD_BASE, self.base),
            wire.be32(uapi.PAYLOAD_OFFSET, self.offset),
            wire.be32(uapi.PAYLOAD_LEN, self.length),
        )

    def __str__(self) -> str:
        return f"{self.length} bytes at {self.base.name.lower()} header + {self.offset}"


@dataclass(frozen=True, slots=True)
class ExtensionHeader:
    """Load bytes of an IPv6 extension header, by its number. The rule ends if the packet has no such header."""

    number: int
    offset: int
    length: int

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression(
            "exthdr",
            wire.be32(uapi.EXTHDR_DREG, uapi.NFT_REG_1),
            wire.attribute(uapi.EXTHDR_TYPE, bytes([self.number])),
            wire.be32(uapi.EXTHDR_OFFSET, self.offset),
            wire.be32(uapi.EXTHDR_LEN, self.length),
        )

    def __str__(self) -> str:
        return f"{self.length} bytes at extension header {self.number} + {self.offset}"


@dataclass(frozen=True, slots=True)
class Cmp:
    """Continue the rule only if the loaded bytes compare to the value in this way, byte by byte from the left."""

    op: CmpOp
    value: bytes

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression(
            "cmp",
            wire.be32(uapi.CMP_SREG, uapi.NFT_REG_1),
            wire.be32(uapi.CMP_OP, self.op),
            wire.nested(uapi.CMP_DATA, wire.attribute(uapi.DATA_VALUE, self.value)),
        )

    def __str__(self) -> str:
        return f"{self.op.name.lower()} 0x{self.value.hex()}"


@dataclass(frozen=True, slots=True)
class Bitwise:
    """Replace what was loaded by (loaded & mask) ^ xor."""

    mask: bytes
    xor: bytes

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression(
            "bitwise",
            wire.be32(uapi.BITWISE_SREG, uapi.NFT_REG_1),
            wire.be32(uapi.BITWISE_DREG, uapi.NFT_REG_1),
            wire.be32(uapi.BITWISE_LEN, len(self.mask)),
            wire.nested(uapi.BITWISE_MASK, wire.attribute(uapi.DATA_VALUE, self.mask)),
            wire.nested(uapi.BITWISE_XOR, wire.attribute(uapi.DATA_VALUE, self.xor)),
        )

    def __str__(self) -> str:
        return f"& 0x{self.mask.hex()} ^ 0x{self.xor.hex()}"


@dataclass(frozen=True, slots=True)
class HostToNetwork:
    """Convert a loaded number of `length` bytes from host to network byte order, so that `Cmp` can order it."""

    length: int

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression(
            "byteorder",
            wire.be32(uapi.BYTEORDER_SREG, uapi.NFT_REG_1),
            wire.be32(uapi.BYTEORDER_DREG, uapi.NFT_REG_1),
            wire.be32(uapi.BYTEORDER_OP, uapi.NFT_BYTEORDER_HTON),
            wire.be32(uapi.BYTEORDER_LEN, self.length),
            wire.be32(uapi.BYTEORDER_SIZE, self.length),
        )

    def __str__(self) -> str:
        return f"hton {self.length}"


@dataclass(frozen=True, slots=True)
class Hash:
    """Replace what was loaded, `length` bytes, by the kernel's jhash of it, scaled down to a number below `modulus`.

    The number is in host byte order.
    """

    length: int
    modulus: int
    seed: int

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression(
            "hash",
            wire.be32(uapi.HASH_SREG, uapi.NFT_REG_1),
            wire.be32(uapi.HASH_DREG, uapi.NFT_REG_1),
            wire.be32(uapi.HASH_LEN, self.length),
            wire.be32(uapi.HASH_MODULUS, self.modulus),
            wire.be32(uapi.HASH_SEED, self.seed),
        )

    def __str__(self) -> str:
        return f"jhash of {self.length} bytes, mod {self.modulus}, seed {self.seed:#x}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Some values or ranges (inclusive) of a type, written inside a rule: nft's `{ 443, 8000-8099 }`.

    In the kernel this is an anonymous set, made and removed with its rule. `length` is a value's, in bytes.
    """

    type: KeyType
    length: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def interval(self) -> bool:
        """Tell whether there is a range among the values, which needs an interval set."""
        return any(first != last for first, last in self.ranges)

    def __str__(self) -> str:
        return "{ " + ", ".join(f"{a:#x}" if a == b else f"{a:#x}-{b:#x}" for a, b in self.ranges) + " }"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Continue the rule only if the loaded value is in the set."""

    choice: Choice

    def encode(self, name: str, number: int) -> bytes:
        """Return NFTA_EXPR: name and data. `number` is the set's within the transaction;
        the kernel completes its name.
        """
        return _lookup(name, wire.be32(uapi.LOOKUP_SET_ID, number))

    def __str__(self) -> str:
        return f"in {self.choice}"


@dataclass(frozen=True, slots=True)
class InSet:
    """Continue the rule only if the loaded value is in the named set."""

    name: str

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _lookup(self.name)

    def __str__(self) -> str:
        return f"in @{self.name}"


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """Apply the verdict that the named map has for the loaded value; continue the rule if it has none."""

    name: str

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _lookup(self.name, wire.be32(uapi.LOOKUP_DREG, uapi.NFT_REG_VERDICT))

    def __str__(self) -> str:
        return f"vmap @{self.name}"


@dataclass(frozen=True, slots=True)
class NamedCounter:
    """Count the packet in the named counter."""

    name: str

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression(
            "objref",
            wire.be32(uapi.OBJREF_IMM_TYPE, uapi.NFT_OBJECT_COUNTER),
            wire.string(uapi.OBJREF_IMM_NAME, self.name),
        )

    def __str__(self) -> str:
        return f"counter {self.name}"


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """The verdict that ends a rule; `chain` is the target of a jump or goto."""

    code: VerdictCode
    chain: str = ""

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        return _expression(
            "immediate",
            wire.be32(uapi.IMMEDIATE_DREG, uapi.NFT_REG_VERDICT),
            wire.nested(uapi.IMMEDIATE_DATA, self.data()),
        )

    def data(self) -> bytes:
        """Return NFTA_DATA_VERDICT, as rules and map elements hold it."""
        chain = wire.string(uapi.VERDICT_CHAIN, self.chain) if self.chain else b""
        return wire.nested(uapi.DATA_VERDICT, wire.be32(uapi.VERDICT_CODE, self.code), chain)

    def __str__(self) -> str:
        return f"{self.code.name.lower()} {self.chain}".rstrip()


@dataclass(frozen=True, slots=True)
class Reject:
    """End the rule: drop the packet and tell its sender. The kernel sends no answer to a reset or an ICMP error."""

    type: RejectType
    code: RejectCode | None = None

    def encode(self) -> bytes:
        """Return NFTA_EXPR: name and data."""
        code = b"" if self.code is None else wire.attribute(uapi.REJECT_CODE, bytes([self.code]))
        return _expression("reject", wire.be32(uapi.REJECT_TYPE, self.type), code)

    def __str__(self) -> str:
        return f"reject with {self.type.name.lower()}" + (f" {self.code.name.lower()}" if self.code else "")


@dataclass(frozen=True, slots=True)
class Other:
    """An expression that geodrop did not write."""

    name: str
    data: bytes

    def encode(self) -> bytes:
        """Return NFTA_EXPR, name and data, as it was read."""
        return _expression(self.name, self.data)

    def __str__(self) -> str:
        return f"[{self.name} {self.data.hex()}]"


Encodable = (
    MetaLoad
    | Payload
    | ExtensionHeader
    | Cmp
    | Bitwise
    | HostToNetwork
    | Hash
    | InSet
    | VerdictMap
    | NamedCounter
    | RuleVerdict
    | Reject
)
Expression = Encodable | OneOf | Other

ACCEPT = RuleVerdict(VerdictCode.ACCEPT)
DROP = RuleVerdict(VerdictCode.DROP)
RETURN = RuleVerdict(VerdictCode.RETURN)
RESET = Reject(RejectType.TCP_RST)
PROHIBITED = Reject(RejectType.ICMPX_UNREACH, RejectCode.ADMIN_PROHIBITED)


def jump(chain: str) -> RuleVerdict:
    """Return the verdict that passes a packet through a chain and comes back."""
    return RuleVerdict(VerdictCode.JUMP, chain)


def goto(chain: str) -> RuleVerdict:
    """Return the verdict that continues in another chain."""
    return RuleVerdict(VerdictCode.GOTO, chain)


def decode(data: memoryview, choices: Mapping[str, Choice]) -> Expression:
    """Read an NFTA_LIST_ELEM of a rule's expressions; `choices` holds the table's anonymous sets, by name."""
    found = _decode(bytes(data))
    if isinstance(found, Other) and found.name == "lookup":
        lookup = wire.parse(memoryview(found.data))
        name = wire.text(lookup.get(uapi.LOOKUP_SET, memoryview(b"")))
        registers = wire.number_in(lookup, uapi.LOOKUP_SREG) == uapi.NFT_REG_1 and uapi.LOOKUP_DREG not in lookup
        if name in choices and registers and not wire.number_in(lookup, uapi.LOOKUP_FLAGS):
            return OneOf(choices[name])
    return found


def decode_verdict(data: memoryview) -> RuleVerdict:
    """Read the contents of NFTA_DATA_VERDICT. Raises ValueError for verdicts geodrop never gives, KeyError if empty."""
    verdict = wire.parse(data)
    code = VerdictCode(wire.signed(verdict[uapi.VERDICT_CODE]))
    return RuleVerdict(code, wire.text(verdict[uapi.VERDICT_CHAIN]) if uapi.VERDICT_CHAIN in verdict else "")


# A reload reads the table about forty times. Most of its expressions repeat a few values: family, drop, a port.
@functools.lru_cache(maxsize=1024)
def _decode(data: bytes) -> Expression:
    """Decode everything except anonymous sets."""
    expression = wire.parse(memoryview(data))
    name = wire.text(expression[uapi.EXPR_NAME])
    raw = expression.get(uapi.EXPR_DATA, memoryview(b""))
    try:
        found = _DECODERS[name](wire.parse(raw))
    except (KeyError, ValueError):
        return Other(name, bytes(raw))  # an expression, attribute or number that geodrop never sends
    # Registers and other attributes are not modelled. So a result counts only if it encodes to the same bytes.
    return found if _same(found.encode(), raw) else Other(name, bytes(raw))


_DECODERS: Mapping[str, Callable[[Attributes], Encodable]] = {
    "meta": lambda data: MetaLoad(MetaKey(wire.number(data[uapi.META_KEY]))),
    "payload": lambda data: Payload(
        PayloadBase(wire.number(data[uapi.PAYLOAD_BASE])),
        wire.number(data[uapi.PAYLOAD_OFFSET]),
        wire.number(data[uapi.PAYLOAD_LEN]),
    ),
    "exthdr": lambda data: ExtensionHeader(
        wire.number(data[uapi.EXTHDR_TYPE]),
        wire.number(data[uapi.EXTHDR_OFFSET]),
        wire.number(data[uapi.EXTHDR_LEN]),
    ),
    "cmp": lambda data: Cmp(CmpOp(wire.number(data[uapi.CMP_OP])), _value(data[uapi.CMP_DATA])),
    "bitwise": lambda data: Bitwise(_value(data[uapi.BITWISE_MASK]), _value(data[uapi.BITWISE_XOR])),
    "byteorder": lambda data: HostToNetwork(wire.number(data[uapi.BYTEORDER_LEN])),
    "hash": lambda data: Hash(
        wire.number(data[uapi.HASH_LEN]), wire.number(data[uapi.HASH_MODULUS]), wire.number(data[uapi.HASH_SEED])
    ),
    "lookup": lambda data: (
        VerdictMap(wire.text(data[uapi.LOOKUP_SET]))
        if uapi.LOOKUP_DREG in data
        else InSet(_own_set(wire.text(data[uapi.LOOKUP_SET])))
    ),
    "objref": lambda data: NamedCounter(wire.text(data[uapi.OBJREF_IMM_NAME])),
    "reject": lambda data: _reject(
        RejectType(wire.number(data[uapi.REJECT_TYPE])), wire.number_in(data, uapi.REJECT_CODE)
    ),
    "immediate": lambda data: decode_verdict(wire.parse(data[uapi.IMMEDIATE_DATA])[uapi.DATA_VERDICT]),
}


def _own_set(name: str) -> str:
    """Return the name of a set of ours. Raises ValueError: of another set it is not known what it holds."""
    if name not in EXEMPT.values() and not is_window(name):
        raise ValueError(name)
    return name


def _reject(kind: RejectType, code: int) -> Reject:
    return Reject(kind, None if kind is RejectType.TCP_RST else RejectCode(code))


def _same(encoded: bytes, raw: memoryview) -> bool:
    """Compare attributes, ignoring those that the kernel adds with the value 0 (defaults that we leave out)."""
    expression = wire.parse(wire.parse(memoryview(encoded))[uapi.LIST_ELEM])
    ours, found = wire.parse(expression[uapi.EXPR_DATA]), wire.parse(raw)
    return all(found.get(kind) == value for kind, value in ours.items()) and not any(
        wire.number_in(found, kind) for kind in found.keys() - ours.keys()
    )


def _value(data: memoryview) -> bytes:
    return bytes(wire.parse(data)[uapi.DATA_VALUE])


def _lookup(name: str, *more: bytes) -> bytes:
    return _expression("lookup", wire.string(uapi.LOOKUP_SET, name), wire.be32(uapi.LOOKUP_SREG, uapi.NFT_REG_1), *more)


def _expression(name: str, *data: bytes) -> bytes:
    return wire.nested(uapi.LIST_ELEM, wire.string(uapi.EXPR_NAME, name), wire.nested(uapi.EXPR_DATA, *data))


def text(expressions: Iterable[Expression]) -> str:
    """Describe a rule in one line, for people."""
    return ", ".join(str(expression) for expression in expressions)
