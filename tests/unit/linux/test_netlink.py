# SPDX-License-Identifier: Apache-2.0
"""Received data is split without trusting its lengths; the constants equal pyroute2's."""

from __future__ import annotations

import errno
import struct

import pyroute2.netlink as theirs
from hypothesis import given
from hypothesis import strategies as st

from geodrop.linux import netlink

pairs = st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8)


def attribute(kind: int, value: bytes) -> bytes:
    """Return one padded attribute."""
    return netlink.ATTRIBUTE.pack(netlink.ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, sequence: int, body: bytes = b"", flags: int = 0) -> bytes:
    """Return one padded message."""
    header = netlink.HEADER.pack(netlink.HEADER.size + len(body), kind, flags, sequence, 0)
    return header + body + bytes(-len(body) % 4)


def test_numbers_are_the_kernels() -> None:
    """pyroute2 took its constants from the kernel's headers independently."""
    assert (*(theirs.NLM_F_REQUEST, theirs.NLM_F_ACK, theirs.NLM_F_DUMP, theirs.NLM_F_DUMP_INTR),) == (
        netlink.REQUEST,
        netlink.ACK,
        netlink.DUMP,
        netlink.DUMP_INTR,
    )
    assert (*(theirs.NLM_F_EXCL, theirs.NLM_F_CREATE, theirs.NLM_F_ACK_TLVS),) == (
        netlink.EXCL,
        netlink.CREATE,
        netlink.ACK_TLVS,
    )
    assert (netlink.NLMSG_ERROR, netlink.NLMSG_DONE) == (theirs.NLMSG_ERROR, theirs.NLMSG_DONE)
    assert (netlink.NETLINK_EXT_ACK, netlink.SOL_NETLINK) == (theirs.NETLINK_EXT_ACK, theirs.SOL_NETLINK)


@given(pairs)
def test_attributes_come_back(items: list[tuple[int, bytes]]) -> None:
    """Attributes of every value length are read back."""
    encoded = b"".join(attribute(kind, value) for kind, value in items)
    assert [(kind, bytes(value)) for kind, value in netlink.attributes(memoryview(encoded))] == items


@given(pairs, st.integers(1, 40))
def test_cut_off_attributes_end_quietly(items: list[tuple[int, bytes]], cut: int) -> None:
    """A short buffer gives fewer attributes, never an exception or an endless loop."""
    encoded = b"".join(attribute(kind, value) for kind, value in items)[:-cut]
    found = [(kind, bytes(value)) for kind, value in netlink.attributes(memoryview(encoded))]
    assert found[:-1] == items[: max(len(found) - 1, 0)]


def test_a_length_of_nothing_ends_attributes_and_messages() -> None:
    """A length shorter than the header ends the reading instead of looping."""
    assert list(netlink.attributes(memoryview(bytes(8)))) == []
    assert list(netlink.messages(memoryview(bytes(32)))) == []


def test_the_nested_flag_is_no_part_of_the_type() -> None:
    """Other programs may set the flags in an attribute's type."""
    encoded = attribute(3 | theirs.NLA_F_NESTED, b"x")
    assert [kind for kind, _ in netlink.attributes(memoryview(encoded))] == [3]


def test_messages_are_cut_apart() -> None:
    """One datagram holds several padded messages; each comes out whole, with its header."""
    received = message(0x10, 1, b"abcde", flags=2) + message(0x11, 2)
    first, second = netlink.messages(memoryview(received))
    assert (*first[:3], bytes(first[3][netlink.HEADER.size :])) == (0x10, 2, 1, b"abcde")
    assert (*second[:3], len(second[3])) == (0x11, 0, 2, netlink.HEADER.size)


def test_refusals() -> None:
    """The kernel's error text is found after the request's header, or alone at the end of a dump."""

    def refusal(kind: int, number: int, rest: bytes, flags: int) -> netlink.NetlinkError | None:
        body = struct.pack("=i", -number) + rest
        return netlink.refusal(kind, flags, memoryview(message(kind, 1, body, flags)))

    words = attribute(netlink.NLMSGERR_ATTR_MSG, b"no such thing\0")
    header = message(0x10, 1)
    assert refusal(netlink.NLMSG_ERROR, 0, header, 0) is None
    assert netlink.refusal(netlink.NLMSG_DONE, 0, memoryview(message(netlink.NLMSG_DONE, 1))) is None
    for kind, rest, flags, detail in (
        (netlink.NLMSG_ERROR, header, 0, ""),
        (netlink.NLMSG_ERROR, header + words, netlink.ACK_TLVS, "no such thing"),
        (netlink.NLMSG_DONE, words, netlink.ACK_TLVS, "no such thing"),
        (netlink.NLMSG_DONE, b"", netlink.ACK_TLVS, ""),
    ):
        error = refusal(kind, errno.ENODEV, rest, flags)
        assert error is not None
        assert (error.errno, error.strerror, error.detail) == (errno.ENODEV, "No such device", detail)
