# SPDX-License-Identifier: Apache-2.0
"""What IPsec carries is judged after decryption: nftables sees a packet again once the kernel has removed ESP.

Some kernels are built without ESP and AH. `make test-kernels` runs this test under one of Debian's kernels, which have
both, and requires it; elsewhere the test is skipped if the kernel says that it lacks one.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from geodrop.nftables.engine import NftablesEngine
from tests.support.namespaces import End, Namespace, join, namespaces, require
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator

DENIED, ALLOWED = ("1.0.1.2", "240e::2"), ("2.0.1.2", "2600::2")
SERVER = {4: "3.0.0.1", 6: "2a0a::1"}
NETWORKS = {"1.0.1.0/24": "CN", "240e::/20": "CN"}
PORT = 443
KEYS = {
    "esp": ("auth", "hmac(sha1)", "0x" + "11" * 20, "enc", "cbc(aes)", "0x" + "22" * 16),
    "ah": ("auth", "hmac(sha1)", "0x" + "11" * 20),
}
LACKING = "Requested type not found"
"""The kernel's error for a transformation that it was built without."""

SECONDS = 60.0
"""The deadline for a datagram to arrive, even on an emulated machine."""


@pytest.fixture
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """Yield a client with an allowed and a denied address and a server, each with a route to the other."""
    require()
    with namespaces("client", "server") as [client, server]:
        prefixes = [f"{address}/{ip_address(address).max_prefixlen}" for address in (*DENIED, *ALLOWED)]
        ends = End(client, "eth0", prefixes), End(server, "eth0", [f"{SERVER[4]}/32", f"{SERVER[6]}/128"])
        join(*ends)
        for host, others in ((client, SERVER.values()), (server, (*DENIED, *ALLOWED))):
            for address in others:
                host.run("ip", "route", "replace", address, "dev", "eth0")
        yield client, server


def protect(host: Namespace, protocol: str, source: str, *, outgoing: bool) -> None:
    """Give a host the keys for packets from a source to the server; the sender also gets the policy to use them."""
    to = SERVER[ip_address(source).version]
    number = "0x100" if source in DENIED else "0x101"
    ends = ("src", source, "dst", to, "proto", protocol, "spi", number, "mode", "transport")
    try:
        host.run("ip", "xfrm", "state", "add", *ends, *KEYS[protocol])
    except RuntimeError as error:
        if LACKING in str(error) and "GEODROP_TEST_IPSEC" not in os.environ:
            pytest.skip(f"this kernel has no {protocol.upper()}; make test-kernels tries it under one that has")
        raise
    if outgoing:
        template = ("tmpl", "src", source, "dst", to, "proto", protocol, "mode", "transport")
        host.run("ip", "xfrm", "policy", "add", "src", source, "dst", to, "dir", "out", *template)


@pytest.mark.parametrize("protocol", KEYS)
@pytest.mark.parametrize("version", [4, 6])
def test_what_ipsec_carries_is_judged(hosts: tuple[Namespace, Namespace], protocol: str, version: int) -> None:
    """A datagram of an allowed source arrives and one of a denied source does not, though no service drops ESP."""
    client, server = hosts
    denied, allowed = (pair[version == 6] for pair in (DENIED, ALLOWED))
    for source in (denied, allowed):
        for host in hosts:
            protect(host, protocol, source, outgoing=host is client)
    with contextlib.ExitStack() as stack:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with server.entered():
            listener = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            listener.bind((SERVER[version], PORT))
            listener.settimeout(1)
        senders = {}
        with client.entered():
            for source in (denied, allowed):
                senders[source] = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                senders[source].bind((source, 0))
                senders[source].connect((SERVER[version], PORT))

        def arrived(until: str) -> set[str]:
            """Return whose datagrams arrive until one of this source does; send repeatedly until then."""
            found: set[str] = set()
            deadline = time.monotonic() + SECONDS
            while until not in found:
                assert time.monotonic() < deadline, f"nothing of {until} arrives, only of {found}"
                senders[until].send(until.encode())
                with contextlib.suppress(TimeoutError):
                    found.add(listener.recv(100).decode())
            return found

        # The first datagrams are lost while neighbours are resolved and ciphers are loaded.
        arrived(denied)
        arrived(allowed)
        assert "0 packets" not in server.run("ip", "-s", "xfrm", "state", "list", "src", denied, "proto", protocol)
        with server.entered():
            NftablesEngine().apply(ruleset(Service("api", NETWORKS, udp=((PORT, PORT),))), 1, ["eth0"])
            while select.select([listener], [], [], 0)[0]:
                listener.recv(100)
        senders[denied].send(denied.encode())
        assert arrived(allowed) == {allowed}
        with server.entered():
            [count] = [count for count in NftablesEngine().counters() if count.label == "CN" and count.dropped[0]]
        assert count.family == f"ipv{version}"
