# SPDX-License-Identifier: Apache-2.0
"""A router whose flowtable carries open connections past nftables, set up as an operator would."""

from __future__ import annotations

import dataclasses
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from geodrop.doctor.nftables import beside_us
from tests.support.namespaces import End, Namespace, join
from tests.support.worlds import POLICY_US, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.emulated import Host

CLIENT, SERVER = "5.0.0.9", "198.18.1.2"
"""The client is in RU, which only the second policy drops."""
FIREWALL = """
table inet fw {
    flowtable fast { hook ingress priority 0; devices = { eth0, lan0 }; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established meta l4proto tcp flow add @fast
    }
    chain seen {
        type filter hook prerouting priority -500; policy accept;
        ip saddr 5.0.0.9 counter
    }
}
"""
SECONDS = 5.0
"""Seconds until an expected answer must have arrived."""


@pytest.fixture
def router(host: Host) -> Iterator[Host]:
    """The host, between a client at its eth0 and a server at its lan0, with a firewall that has a flowtable."""
    host.plug()
    with ExitStack() as stack:
        server = Namespace.make("server")
        stack.callback(server.delete)
        join(End(server, "srv0", [f"{SERVER}/24"]), End(host.netns, "lan0", ["198.18.1.1/24"]))
        server.run("ip", "route", "add", "default", "via", "198.18.1.1")
        host.there("address add 198.18.0.2/24 dev far0", f"address add {CLIENT}/32 dev far0")
        host.there("route add default via 198.18.0.1")
        host.ip("address add 198.18.0.1/24 dev eth0", "route add 5.0.0.0/8 via 198.18.0.2")
        host.netns.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        host.netns.nft(FIREWALL)
        stack.enter_context(echoing(server))
        yield host


@contextmanager
def echoing(server: Namespace) -> Iterator[None]:
    """A server that echoes what it receives."""
    with server.entered():
        listener = socket.create_server((SERVER, 443))

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(64):
                    connection.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Wakes the thread that waits for a connection.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def connection(host: Host) -> Iterator[socket.socket]:
    """A connection of the client through the router, carried by the flowtable."""
    with host.far.entered():
        client = socket.create_connection((SERVER, 443), SECONDS * 4, (CLIENT, 0))
    with client:
        client.settimeout(SECONDS)
        for _ in range(20):
            before = seen(host)
            assert answers(client)
            if seen(host) == before:
                yield client
                return
    pytest.fail("the flowtable never took the connection")


def answers(client: socket.socket) -> bool:
    """Return whether data that is sent comes back."""
    with suppress(TimeoutError):
        client.sendall(b"x" * 32)
        return len(client.recv(64)) > 0
    return False


def seen(host: Host) -> int:
    """Return how many of the client's packets prerouting has met."""
    words = host.netns.run("nft", "list", "chain", "inet", "fw", "seen").split()
    return int(words[words.index("packets") + 1])


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_a_policy_that_newly_drops(router: Host, tmp_path: Path, engine: str) -> None:
    """On xdp an open connection is cut, with or without a flowtable; on nftables it goes on, and new ones are dropped.

    Status and doctor report the flowtable, with a next step that ends the connection.
    """
    router.arrange(engine, "eth0")
    later = dataclasses.replace(router, ruleset=compiled(POLICY_US, tmp_path))
    with connection(router) as client:
        problems = router.coverage("eth0").problems
        [finding] = beside_us()
        later.arrange(engine, "eth0", generation=2)
        if engine == "nftables":
            [problem] = problems
            assert problem.startswith("flowtable fast of table inet fw takes forwarded packets of open connections")
            assert finding.found.startswith("flowtable fast of table inet fw takes packets from")
            assert problem.endswith(finding.next_step)
            assert answers(client)
            with pytest.raises(RuntimeError, match="Device or resource busy"):
                router.netns.run("nft", "delete", "flowtable", "inet", "fw", "fast")
            assert finding.next_step.endswith("conntrack -D -s PREFIX")
            router.netns.run("conntrack", "-D", "-s", "5.0.0.0/8")
        else:
            assert problems == ()
        assert not answers(client)
    with router.far.entered(), pytest.raises(TimeoutError):
        socket.create_connection((SERVER, 443), SECONDS, (CLIENT, 0))
