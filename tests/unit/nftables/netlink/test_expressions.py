# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from pyroute2.netlink.nfnetlink import nftsocket

from geodrop.linux import netlink
from geodrop.nftables.netlink import expressions, uapi, wire
from geodrop.nftables.netlink.expressions import (
    ACCEPT,
    DROP,
    PROHIBITED,
    RESET,
    RETURN,
    Bitwise,
    Choice,
    Cmp,
    Encodable,
    Expression,
    ExtensionHeader,
    HostToNetwork,
    MetaLoad,
    NamedCounter,
    OneOf,
    Other,
    Payload,
    VerdictMap,
    goto,
    jump,
)
from geodrop.nftables.netlink.uapi import CmpOp, KeyType, MetaKey, PayloadBase

ALL: list[Encodable] = [
    MetaLoad(MetaKey.IIFNAME),
    MetaLoad(MetaKey.TIME_NS),
    Payload(PayloadBase.NETWORK, 12, 4),
    Payload(PayloadBase.TRANSPORT, 13, 1),
    ExtensionHeader(44, 2, 2),
    Cmp(CmpOp.EQ, b"eth"),
    Cmp(CmpOp.NEQ, b"\x02"),
    Cmp(CmpOp.GTE, bytes(16)),
    Bitwise(b"\xff\xf0", b"\x00\x01"),
    HostToNetwork(8),
    VerdictMap("g1-api.ipv4"),
    NamedCounter("api.CN.ipv4.dropped"),
    ACCEPT,
    DROP,
    RETURN,
    RESET,
    PROHIBITED,
    goto("g1-api"),
    jump("g1-trial"),
]
PORTS = Choice(KeyType.INET_SERVICE, 2, ((443, 443), (8000, 8099)))


def item(encoded: bytes) -> memoryview:
    """Return the value of the only attribute."""
    [(_, value)] = netlink.attributes(memoryview(encoded))
    return value


def altered(encoded: bytes, kind: int, value: bytes) -> memoryview:
    """Return the expression with one attribute of its data added or replaced."""
    expression = wire.parse(item(encoded))
    data = {number: bytes(found) for number, found in netlink.attributes(expression[uapi.EXPR_DATA])} | {kind: value}
    return memoryview(
        wire.attribute(uapi.EXPR_NAME, bytes(expression[uapi.EXPR_NAME]))
        + wire.nested(uapi.EXPR_DATA, *(wire.attribute(*pair) for pair in data.items()))
    )


@pytest.mark.parametrize("expression", ALL, ids=str)
def test_expressions_come_back(expression: Encodable) -> None:
    """An expression is read back as it was written."""
    assert expressions.decode(item(expression.encode()), {}) == expression


@pytest.mark.parametrize("expression", ALL, ids=str)
def test_defaults_that_the_kernel_adds_make_no_difference(expression: Encodable) -> None:
    """Newer kernels dump more attributes; with the value zero they change nothing."""
    assert expressions.decode(altered(expression.encode(), 30, bytes(4)), {}) == expression


@pytest.mark.parametrize("expression", ALL, ids=str)
def test_whatever_else_is_there_shows(expression: Encodable) -> None:
    """An unknown attribute that is not zero changes what the expression means."""
    assert isinstance(expressions.decode(altered(expression.encode(), 30, b"\0\0\0\1"), {}), Other)


def test_another_register_shows() -> None:
    """The compared value must be the one that was loaded."""
    raw = altered(MetaLoad(MetaKey.NFPROTO).encode(), uapi.META_DREG, b"\0\0\0\2")
    assert isinstance(expressions.decode(raw, {}), Other)


def test_an_unknown_key_shows() -> None:
    """A key without a number here is not guessed."""
    raw = altered(MetaLoad(MetaKey.NFPROTO).encode(), uapi.META_KEY, b"\0\0\0\5")
    assert isinstance(expressions.decode(raw, {}), Other)


def test_foreign_expressions_are_kept_as_they_are() -> None:
    """Foreign expressions can be shown, compared and written back."""
    encoded = wire.nested(
        uapi.LIST_ELEM,
        wire.string(uapi.EXPR_NAME, "notrack"),
        wire.nested(uapi.EXPR_DATA, wire.be32(1, 7)),
    )
    found = expressions.decode(item(encoded), {})
    assert found == Other("notrack", wire.be32(1, 7))
    assert found.encode() == encoded


def test_an_expression_without_data() -> None:
    """Some expressions have no data."""
    encoded = wire.nested(uapi.LIST_ELEM, wire.string(uapi.EXPR_NAME, "notrack"))
    assert expressions.decode(item(encoded), {}) == Other("notrack", b"")


def test_one_of_comes_back_by_the_name_the_kernel_gave() -> None:
    """The set is found by its name among the table's anonymous sets."""
    encoded = OneOf(PORTS).encode("__set3", 1)
    assert expressions.decode(item(encoded), {"__set3": PORTS}) == OneOf(PORTS)
    assert isinstance(expressions.decode(item(encoded), {}), Other)


def test_one_of_upside_down_is_something_else() -> None:
    """`!= { ... }` must not be taken for `{ ... }`."""
    raw = altered(OneOf(PORTS).encode("__set3", 1), uapi.LOOKUP_FLAGS, b"\0\0\0\1")
    assert isinstance(expressions.decode(raw, {"__set3": PORTS}), Other)


def test_pyroute2_reads_the_same() -> None:
    """Code that is not ours decodes the names of attributes and their values."""
    rule: list[Encodable] = [MetaLoad(MetaKey.NFPROTO), Cmp(CmpOp.NEQ, b"\x0a"), NamedCounter("api"), goto("g1")]
    body = wire.nested(uapi.RuleAttribute.EXPRESSIONS, *(expression.encode() for expression in rule))
    request = wire.NetlinkRequest(uapi.Message.NEWRULE, uapi.Flag.REQUEST, body, "")
    message = nftsocket.nft_rule_msg(request.encode(1))
    message.decode()
    [meta, cmp, objref, immediate] = message.get_attr("NFTA_RULE_EXPRESSIONS")
    assert meta.get_attr("NFTA_EXPR_NAME") == "meta"
    assert meta.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_META_KEY") == "NFT_META_NFPROTO"
    assert meta.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_META_DREG") == "NFT_REG_1"
    assert cmp.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_CMP_OP") == "NFT_CMP_NEQ"
    assert cmp.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_CMP_DATA").get_attr("NFTA_DATA_VALUE") == b"\x0a"
    assert objref.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_OBJREF_IMM_NAME") == "api"
    verdict = immediate.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_IMMEDIATE_DATA").get_attr("NFTA_DATA_VERDICT")
    assert verdict.get_attr("NFTA_VERDICT_CODE") == "NFT_GOTO"
    assert verdict.get_attr("NFTA_VERDICT_CHAIN") == "g1"


def test_choices_know_whether_they_hold_ranges() -> None:
    """Ranges decide which kind of set the kernel makes."""
    assert PORTS.interval
    assert not Choice(KeyType.INET_PROTO, 1, ((1, 1), (58, 58))).interval


def test_text() -> None:
    """Rules are shown to people if they differ."""
    rule: list[Expression] = [
        MetaLoad(MetaKey.IIFNAME),
        Cmp(CmpOp.EQ, b"lo"),
        OneOf(PORTS),
        NamedCounter("api"),
        ACCEPT,
    ]
    assert expressions.text(rule) == ("meta iifname, eq 0x6c6f, in { 0x1bb, 0x1f40-0x1fa3 }, counter api, accept")
