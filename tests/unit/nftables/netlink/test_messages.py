# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import pytest
from pyroute2.netlink.nfnetlink import nftsocket

from geodrop.nftables import render
from geodrop.nftables.model import Chain, Content, Map, MapHeader, Rule
from geodrop.nftables.netlink import messages, uapi, wire
from geodrop.nftables.netlink.expressions import ACCEPT, Choice, MetaLoad, OneOf, goto
from geodrop.nftables.netlink.uapi import KeyType, MetaKey

if TYPE_CHECKING:
    from geodrop.nftables.netlink.wire import NetlinkRequest

PROTOCOLS = Choice(KeyType.INET_PROTO, 1, ((1, 1), (58, 58)))
RULE = Rule((MetaLoad(MetaKey.L4PROTO), OneOf(PROTOCOLS), goto("g1-api")), "service api, enforce")
HEADER = MapHeader("g1-api.ipv4", "service api, IPv4", KeyType.IPV4_ADDR)


def body(request: NetlinkRequest) -> memoryview:
    """Return what the kernel receives; its dumps return most of it."""
    return memoryview(request.body)


def test_chains_come_back() -> None:
    """Base chains and other chains are read back; their rules come from another dump."""
    for chain in (render.base_chain(), Chain("g1-api", "service api", ()), Chain("g1-api.CN", "", ())):
        assert messages.read_chain(wire.parse(body(messages.new_chain(chain))), ()) == chain


def test_rules_come_back_with_their_sets() -> None:
    """The set precedes the rule in the same transaction, under a number."""
    made, items, rule = messages.new_rules("g1", [RULE], itertools.count(5))
    assert [made.joined, items.joined, rule.joined] == [False, True, True]
    assert wire.number(wire.parse(body(made))[uapi.SetAttribute.ID]) == 5
    assert wire.number(wire.parse(body(items))[uapi.ElementsAttribute.SET_ID]) == 5
    assert messages.read_rule(body(rule), {"__set%d": PROTOCOLS}) == ("g1", RULE)


def test_rules_without_sets() -> None:
    """Each rule is one message."""
    [request] = messages.new_rules("g1", [Rule((ACCEPT,))], itertools.count(1))
    assert messages.read_rule(body(request), {}) == ("g1", Rule((ACCEPT,)))
    assert request.what == "add rule 1 to chain g1"


def test_maps_come_back() -> None:
    """Maps are read back, and nothing else is taken for such a map."""
    found = wire.parse(body(messages.new_map(HEADER)))
    assert messages.read_map(found) == HEADER
    for attribute, value in (
        (uapi.SetAttribute.FLAGS, 0xC),
        (uapi.SetAttribute.KEY_TYPE, KeyType.INET_SERVICE),
        (uapi.SetAttribute.KEY_TYPE, 9_999),
        (uapi.SetAttribute.KEY_LEN, 16),
        (uapi.SetAttribute.DATA_TYPE, 7),
    ):
        assert messages.read_map({**found, attribute: memoryview(value.to_bytes(4, "big"))}) is None


def test_counters_come_back() -> None:
    """Packets come before bytes."""
    request = messages.new_counter("api.CN.ipv4.dropped")
    assert messages.read_counter(body(request)) == ("api.CN.ipv4.dropped", (0, 0))


def test_long_names_and_comments() -> None:
    """The longest names and comments of a policy fit the kernel's limits."""
    name = f"g{10**9}-{'s' * 32}.never-drop-else-list_{'l' * 32}"
    assert len(name) < 256
    chain = Chain(name, "c" * 250, ())
    assert messages.read_chain(wire.parse(body(messages.new_chain(chain))), ()) == chain


@pytest.mark.parametrize(
    ("request_", "kind", "name"),
    [
        (messages.new_table("x"), nftsocket.nft_table_msg, "NFTA_TABLE_NAME"),
        (messages.delete_table(), nftsocket.nft_table_msg, "NFTA_TABLE_NAME"),
        (messages.get_table(), nftsocket.nft_table_msg, "NFTA_TABLE_NAME"),
        (messages.new_chain(render.base_chain()), nftsocket.nft_chain_msg, "NFTA_CHAIN_TABLE"),
        (messages.delete_chain("g1"), nftsocket.nft_chain_msg, "NFTA_CHAIN_TABLE"),
        (messages.get_base(), nftsocket.nft_chain_msg, "NFTA_CHAIN_TABLE"),
        (messages.delete_rules("g1"), nftsocket.nft_rule_msg, "NFTA_RULE_TABLE"),
        (messages.dump_rules("g1"), nftsocket.nft_rule_msg, "NFTA_RULE_TABLE"),
        (messages.new_map(HEADER), nftsocket.nft_set_msg, "NFTA_SET_TABLE"),
        (messages.delete_set("g1"), nftsocket.nft_set_msg, "NFTA_SET_TABLE"),
        (messages.get_element("g1", bytes(4)), nftsocket.nft_set_elem_list_msg, "NFTA_SET_ELEM_LIST_TABLE"),
        (messages.dump_elements("g1"), nftsocket.nft_set_elem_list_msg, "NFTA_SET_ELEM_LIST_TABLE"),
    ],
    ids=lambda value: getattr(value, "what", ""),
)
def test_every_message_is_about_our_table(request_: NetlinkRequest, kind: type, name: str) -> None:
    """As pyroute2 reads it, the message is about our table in the family inet."""
    message = kind(request_.encode(1))
    message.decode()
    assert message["nfgen_family"] == uapi.NFPROTO_INET
    assert message.get_attr(name) == "geodrop"


def test_pyroute2_reads_the_base_chain() -> None:
    """pyroute2 reads the hook and its negative priority."""
    message = nftsocket.nft_chain_msg(messages.new_chain(render.base_chain()).encode(1))
    message.decode()
    hook = message.get_attr("NFTA_CHAIN_HOOK")
    assert hook.get_attr("NFTA_HOOK_PRIORITY") == -450
    assert hook.get_attr("NFTA_HOOK_HOOKNUM") == 0
    assert message.get_attr("NFTA_CHAIN_TYPE") == "filter"
    assert message.get_attr("NFTA_CHAIN_POLICY") == 1


def test_pyroute2_reads_the_map() -> None:
    """pyroute2 reads the flags; user data tells nft the byte order of keys, and the comment."""
    message = nftsocket.nft_set_msg(messages.new_map(HEADER).encode(1))
    message.decode()
    assert message.get_attr("NFTA_SET_FLAGS") == {"NFT_SET_CONSTANT", "NFT_SET_INTERVAL", "NFT_SET_MAP"}
    assert message.get_attr("NFTA_SET_DATA_TYPE") == 0xFFFFFF00
    order, comment = message.get_attr("NFTA_SET_USERDATA")
    assert order == ("NFTNL_UDATA_SET_KEYBYTEORDER", struct.pack("=I", 2))
    assert comment == ("NFTNL_UDATA_SET_COMMENT", b"service api, IPv4")


def test_a_map_is_filled_by_name() -> None:
    """Each piece names the map it fills."""
    content = Content(4, memoryview(bytes(4)), memoryview(bytes(4)), memoryview(bytes(2)).cast("H"), (goto("x"),))
    [request] = messages.new_elements(Map(HEADER, content))
    assert wire.text(wire.parse(body(request))[uapi.ElementsAttribute.SET]) == "g1-api.ipv4"
    assert messages.read_elements(body(request))
    assert not request.joined


def test_maps_of_raw_payload_say_so_as_nft_does() -> None:
    """The user data equals what nft 1.0.6 writes for `typeof @nh,80,32 : verdict`; without it nft could not read back
    what it lists.
    """
    noted = "0326000407000000011e00040000000001040000000002040200000003045000000004042000000004080004010000000100"
    made = messages.new_map(MapHeader("g1-api.inside", "", KeyType.INTEGER)).body
    assert bytes.fromhex(noted) in bytes(made)
    assert bytes.fromhex(noted) not in bytes(messages.new_map(MapHeader("g1-api.ipv4", "", KeyType.IPV4_ADDR)).body)


def test_what_others_made_is_named_as_it_is_removed() -> None:
    """A foreign object is deleted by type and name, a flowtable by name."""
    quota = messages.delete_object(2, "theirs")
    assert messages.read_object(body(quota)) == (2, "theirs")
    assert messages.read_object(body(messages.new_counter("a.ipv4.accepted"))) == (1, "a.ipv4.accepted")
    flowtable = messages.delete_flowtable("theirs")
    assert (quota.kind, flowtable.kind) == (uapi.Message.DELOBJ, uapi.Message.DELFLOWTABLE)
    found = wire.parse(body(flowtable))
    assert wire.text(found[uapi.FlowtableAttribute.TABLE]) == "geodrop"
    assert wire.text(found[uapi.FlowtableAttribute.NAME]) == "theirs"


def test_the_number_of_the_last_commit() -> None:
    """The number is read as the kernel sends it, in network byte order."""
    answer = memoryview(wire.be32(uapi.GenerationAttribute.ID, 4711) + wire.be32(uapi.GenerationAttribute.PROC_PID, 1))
    assert messages.read_generation(answer) == 4711
