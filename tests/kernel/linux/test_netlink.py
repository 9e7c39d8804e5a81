# SPDX-License-Identifier: Apache-2.0
"""Requests and dumps on an rtnetlink socket: answers in order, whole, and asked again where some were lost."""

from __future__ import annotations

import errno
import functools
import socket
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.linux import netlink
from geodrop.linux.event_socket import NETLINK_ADD_MEMBERSHIP
from geodrop.linux.netlink import NetlinkError, NetlinkSocket

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace

RTNLGRP_LINK = 1
RTM_GETLINK = 18
BODY = netlink.HEADER.size + 16  # struct ifinfomsg


def links(sequence: int, flags: int = netlink.DUMP, index: int = 0) -> bytes:
    """Encode a request for all interfaces, or for one by its index."""
    body = bytes(4) + index.to_bytes(4, "little") + bytes(8)
    return netlink.HEADER.pack(BODY, RTM_GETLINK, netlink.REQUEST | flags, sequence, 0) + body


def indexes(answers: list[memoryview]) -> list[int]:
    """Return the indexes of the interfaces in answers."""
    return [int.from_bytes(answer[20:24], "little") for answer in answers]


def rtnetlink() -> NetlinkSocket:
    """A socket to rtnetlink."""
    return NetlinkSocket(socket.NETLINK_ROUTE, "try it")


def test_questions_are_answered_in_order(netns: Namespace) -> None:
    """Every request is answered: an existing interface gives data, a missing one an error, and no answer is lost."""
    del netns
    wanted = [1, 77] * 100
    with rtnetlink() as kernel:
        answers = kernel.ask([functools.partial(links, flags=netlink.ACK, index=index) for index in wanted])
        assert len(answers) == len(wanted)
        for index, answer in zip(wanted, answers, strict=True):
            if index == 1:
                assert isinstance(answer, memoryview)
                assert indexes([answer]) == [1]
            else:
                assert isinstance(answer, NetlinkError)
                assert answer.errno == errno.ENODEV
        with pytest.raises(NetlinkError, match="No such device"):
            kernel.do(functools.partial(links, flags=netlink.ACK, index=77))


def test_a_dump_is_whole_however_small_the_queue(netns: Namespace) -> None:
    """The kernel keeps back what does not fit one datagram; unwanted answers are left out."""
    for number in range(50):
        netns.run("ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
    with rtnetlink() as kernel:
        kernel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        assert indexes(kernel.dump(links)) == list(range(1, 102))
        assert indexes(kernel.dump(links, lambda message: message[20] == 7)) == [7]


def test_lost_answers_lead_to_a_fresh_dump(netns: Namespace) -> None:
    """After an overflow (ENOBUFS) the dump is repeated on a new socket, which holds no old answers."""
    with rtnetlink() as kernel:
        kernel.socket.bind((0, 0))
        kernel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        kernel.socket.setsockopt(netlink.SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK)
        for number in range(30):
            netns.run("ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
        overflowed = kernel.socket
        assert indexes(kernel.dump(links)) == list(range(1, 62))
        assert kernel.socket is not overflowed
        assert overflowed.fileno() == -1


@pytest.mark.parametrize("interruptions", [2, 100])
def test_a_dump_that_changed_meanwhile_is_asked_for_again(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch, interruptions: int
) -> None:
    """A dump interrupted by a change is repeated, since it may lack existing interfaces, but not for ever."""
    del netns
    real = netlink.messages
    asked: set[int] = set()

    def messages(received: memoryview) -> list[netlink.Message]:
        cut = list(real(received))
        asked.update(sequence for _, _, sequence, _ in cut)
        interrupted = netlink.DUMP_INTR if len(asked) <= interruptions else 0
        return [(kind, flags | interrupted, sequence, message) for kind, flags, sequence, message in cut]

    monkeypatch.setattr(netlink, "messages", messages)
    with rtnetlink() as kernel:
        if interruptions == 2:
            assert indexes(kernel.dump(links)) == [1]
            assert asked == {1, 2, 3}
        else:
            with pytest.raises(NetlinkError) as caught:
                kernel.dump(links)
            assert caught.value.errno == errno.EINTR


def test_a_subsystem_that_is_not_there_is_said() -> None:
    """No interface has this index."""
    with pytest.raises(UnavailableError, match=r"no netlink socket to try it \(.*AF_NETLINK"):
        NetlinkSocket(31, "try it")
