# SPDX-License-Identifier: Apache-2.0
"""`action: reject`, as a client sees it: real connections between two hosts."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import time
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.api import Total
from geodrop.nftables.engine import NftablesEngine
from tests.support.namespaces import End, Namespace, join, namespaces, require
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator

DENIED = {"1.0.1.0/24": "CN", "240e::/20": "CN"}
PORT = 443
SERVER = {socket.AF_INET: "1.0.1.1", socket.AF_INET6: "240e::1"}
FAMILIES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
TIMEOUT = 2.0  # seconds; an answer on a veth takes well under a millisecond


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """Yield a client in a denied prefix, and a server that listens on TCP and UDP."""
    require()
    with namespaces("client", "server") as [client, server], contextlib.ExitStack() as stack:
        join(
            End(client, "eth0", ["1.0.1.2/24", "240e::2/64"]),
            End(server, "eth0", [f"{SERVER[socket.AF_INET]}/24", f"{SERVER[socket.AF_INET6]}/64"]),
        )
        for host in (client, server):
            wait_for_addresses(host)
        with server.entered():
            for family, kind in ((family, kind) for family in FAMILIES for kind in _KINDS):
                listener = stack.enter_context(socket.socket(family, kind))
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((SERVER[family], PORT))
                if kind == socket.SOCK_STREAM:
                    listener.listen()
        yield client, server


_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def wait_for_addresses(host: Namespace) -> None:
    """An IPv6 address can be bound only a moment after its link is up, since a kernel worker finishes it."""
    deadline = time.monotonic() + TIMEOUT
    while host.run("ip", "-6", "address", "show", "tentative"):
        assert time.monotonic() < deadline, "addresses stay tentative"
        time.sleep(0.005)


def outcome(client: Namespace, family: socket.AddressFamily, kind: socket.SocketKind) -> str:
    """Return what a client is told: an error's name, "silence" or "connected". To UDP only the kernel answers."""
    with client.entered(), socket.socket(family, kind) as peer:
        peer.settimeout(TIMEOUT if kind == socket.SOCK_STREAM else TIMEOUT / 4)
        try:
            peer.connect((SERVER[family], PORT))
            if kind == socket.SOCK_DGRAM:
                peer.send(b"anyone there?")
                peer.recv(1)
        except TimeoutError:
            return "silence"
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "connected"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sender_is_told(hosts: tuple[Namespace, Namespace], family: socket.AddressFamily) -> None:
    """TCP is refused by a reset and UDP by an ICMP error; each packet counts as dropped once."""
    client, server = hosts
    assert outcome(client, family, socket.SOCK_STREAM) == "connected"
    rules = ruleset(Service("api", DENIED, tcp=((PORT, PORT),), udp=((PORT, PORT),), action="reject"))
    engine = NftablesEngine()
    with server.entered():
        engine.apply(rules, 1, ["eth0"])
        assert engine.verify(rules) == []
    assert outcome(client, family, socket.SOCK_STREAM) == "ECONNREFUSED"
    # Linux reports "administratively prohibited" (RFC 1812, RFC 4443) to programs as this error.
    assert outcome(client, family, socket.SOCK_DGRAM) == {4: "EHOSTUNREACH", 6: "EACCES"}[_version(family)]
    with server.entered():
        [count] = [count for count in engine.counters() if count.dropped != (0, 0)]
    assert (count.family, count.label, count.dropped[0]) == (FAMILIES[family], "CN", 2)
    assert count.would_drop == Total("api", "", None).would_drop


@pytest.mark.parametrize("family", FAMILIES)
def test_no_sender_is_told_where_packets_are_only_counted(
    hosts: tuple[Namespace, Namespace], family: socket.AddressFamily
) -> None:
    """In monitor, and before `starts`, connections work as if there were no service."""
    client, server = hosts
    for generation, service in enumerate(
        (
            Service("api", DENIED, tcp=((PORT, PORT),), action="reject", mode="monitor"),
            Service("api", DENIED, tcp=((PORT, PORT),), action="reject", starts=4_000_000_000),
        ),
        start=1,
    ):
        with server.entered():
            NftablesEngine().apply(ruleset(service), generation, ["eth0"])
        assert outcome(client, family, socket.SOCK_STREAM) == "connected"


def test_the_table_says_drop(hosts: tuple[Namespace, Namespace]) -> None:
    """`explain` looks up the kernel's table, whose rejections are in a separate chain."""
    _, server = hosts
    rules = ruleset(Service("api", DENIED, tcp=((PORT, PORT),), action="reject"))
    engine = NftablesEngine()
    with server.entered():
        engine.apply(rules, 1, ["eth0"])
        [[inside], [outside]] = engine.judge(rules, ["1.0.1.2", "1.0.2.2"])
        listed = server.run("nft", "list", "chain", "inet", "geodrop", "g1-api.reject")
    assert (inside.verdict, inside.would_drop, inside.target) == ("drop", True, "g1-api.CN.ipv4")
    assert (outside.verdict, outside.would_drop) == ("accept", False)
    # Without /etc/protocols, as on a bare machine, nft writes the protocol's number.
    assert re.search("meta l4proto (tcp|6) reject with tcp reset", listed)
    assert "reject with icmpx admin-prohibited" in listed


def _version(family: socket.AddressFamily) -> int:
    return 4 if family == socket.AF_INET else 6
