# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from pyroute2.netlink.nfnetlink import nftsocket

from geodrop.nftables.netlink import uapi

if TYPE_CHECKING:
    from enum import IntEnum

EXPRESSIONS = nftsocket.nft_contains_expr.nft_expr


class Message(Protocol):
    """What pyroute2's message classes have in common for this test."""

    nla_map: tuple[tuple[str, str], ...]


def numbers(message: Message, prefix: str) -> dict[str, int]:
    """Return the attribute numbers that pyroute2 knows, by their names without the prefix."""
    return {name.removeprefix(prefix): number for number, (name, _) in enumerate(message.nla_map)}


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (uapi.TableAttribute, nftsocket.nft_table_msg, "NFTA_TABLE_"),
        (uapi.ChainAttribute, nftsocket.nft_chain_msg, "NFTA_CHAIN_"),
        (uapi.HookAttribute, nftsocket.nft_chain_msg.hook, "NFTA_HOOK_"),
        (uapi.RuleAttribute, nftsocket.nft_rule_msg, "NFTA_RULE_"),
        (uapi.SetAttribute, nftsocket.nft_set_msg, "NFTA_SET_"),
        (uapi.ElementsAttribute, nftsocket.nft_set_elem_list_msg, "NFTA_SET_ELEM_LIST_"),
        (uapi.ElementAttribute, nftsocket.nft_set_elem_list_msg.set_elem, "NFTA_SET_ELEM_"),
        (uapi.CounterAttribute, nftsocket.nft_chain_msg.counters, "NFTA_COUNTER_"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_attribute_numbers(ours: type[IntEnum], theirs: Message, prefix: str) -> None:
    """pyroute2 took its numbers from the kernel's headers independently; numbers of the same name are equal."""
    known = numbers(theirs, prefix)
    renamed = {"SET_SET_ID": "SET_ID"}
    for member in ours:
        assert known[renamed.get(member.name, member.name)] == member


@pytest.mark.parametrize(
    ("expression", "prefix"),
    [
        ("immediate", "IMMEDIATE"),
        ("meta", "META"),
        ("payload", "PAYLOAD"),
        ("exthdr", "EXTHDR"),
        ("cmp", "CMP"),
        ("lookup", "LOOKUP"),
        ("bitwise", "BITWISE"),
        ("byteorder", "BYTEORDER"),
        ("objref", "OBJREF"),
    ],
)
def test_expression_attribute_numbers(expression: str, prefix: str) -> None:
    """Attributes of expressions have the same numbers as in pyroute2."""
    known = numbers(getattr(EXPRESSIONS, f"nft_{expression}"), "NFTA_")
    ours = {name: value for name, value in vars(uapi).items() if name.startswith(f"{prefix}_")}
    assert ours
    for name, value in ours.items():
        assert known[name] == value


def test_enumerations() -> None:
    """Messages, verdicts, keys and comparisons have the same numbers as in pyroute2."""
    for message in uapi.Message:
        if hasattr(nftsocket, f"NFT_MSG_{message.name}"):
            assert getattr(nftsocket, f"NFT_MSG_{message.name}") == message
    for key in uapi.MetaKey:
        assert nftsocket.Meta[f"NFT_META_{key.name}"].value == key
    for operation in uapi.CmpOp:
        assert nftsocket.Cmp[f"NFT_CMP_{operation.name}"].value == operation
    verdicts = nftsocket.nft_data.nfta_data.verdict.verdict_code.ops
    for verdict in uapi.VerdictCode:
        assert verdicts[int(verdict)] in {f"NF_{verdict.name}", f"NFT_{verdict.name}"}
    assert nftsocket.Regs.NFT_REG_1.value == uapi.NFT_REG_1
    for key_type, theirs in {
        uapi.KeyType.INTEGER: nftsocket.DATA_TYPE_INTEGER,
        uapi.KeyType.IPV4_ADDR: nftsocket.DATA_TYPE_IPADDR,
        uapi.KeyType.IPV6_ADDR: nftsocket.DATA_TYPE_IP6ADDR,
        uapi.KeyType.INET_PROTO: nftsocket.DATA_TYPE_INET_PROTOCOL,
        uapi.KeyType.INET_SERVICE: nftsocket.DATA_TYPE_INET_SERVICE,
        uapi.KeyType.ICMP_TYPE: nftsocket.DATA_TYPE_ICMP_TYPE,
        uapi.KeyType.ICMPV6_TYPE: nftsocket.DATA_TYPE_ICMP6_TYPE,
    }.items():
        assert key_type == theirs


def test_set_flags() -> None:
    """Bits are counted from the lowest one."""
    names = nftsocket.nft_set_msg.set_flags.ops
    assert {flag.name: flag for flag in uapi.SetFlag} == {
        name.removeprefix("NFT_SET_"): 1 << bit
        for bit, name in enumerate(names)
        if name.removeprefix("NFT_SET_") in uapi.SetFlag.__members__
    }
