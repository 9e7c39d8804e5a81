# SPDX-License-Identifier: Apache-2.0
"""Open connections are read as the kernel has them."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.linux import netlink
from geodrop.linux.connections import TcpConnection, read_connections

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace

MANY = 400


def opened(stack: ExitStack, server: socket.socket, address: str, count: int = 1) -> list[tuple[str, int]]:
    """Open connections to a server and accept them; return the clients' addresses and ports."""
    made = []
    for _ in range(count):
        client = stack.enter_context(socket.create_connection((address, server.getsockname()[1])))
        stack.enter_context(server.accept()[0])
        made.append(client.getsockname()[:2])
    return made


def test_both_families(netns: Namespace) -> None:
    """Each open connection is told from both of its ends; an IPv4 client of a socket for both families is IPv4."""
    del netns
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
        port = server.getsockname()[1]
        [four] = opened(stack, server, "127.0.0.1")
        [six] = opened(stack, server, "::1")
        found = set(read_connections())
    loop4, loop6 = ip_address("127.0.0.1"), ip_address("::1")
    assert found == {
        TcpConnection(loop4, loop4, port),
        TcpConnection(loop4, loop4, four[1]),
        TcpConnection(loop6, loop6, port),
        TcpConnection(loop6, loop6, six[1]),
    }


def test_more_than_one_answer_holds(netns: Namespace) -> None:
    """Thousands of connections take many answers, and all are told; listening and closed sockets are not."""
    del netns
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        opened(stack, server, "127.0.0.1", MANY)
        found = read_connections()
        assert len(found) == 2 * (MANY)
        assert sum(one.port == server.getsockname()[1] for one in found) == MANY
    assert read_connections() == []


def test_a_kernel_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without socket diagnostics is an error with what it lacks, and not an empty table."""

    def refuse(*_: object) -> list[memoryview]:
        raise netlink.NetlinkError(2)

    monkeypatch.setattr(netlink.NetlinkSocket, "dump", refuse)
    with pytest.raises(UnavailableError, match=r"open connections.*CONFIG_INET_DIAG"):
        read_connections()
