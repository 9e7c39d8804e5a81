# SPDX-License-Identifier: Apache-2.0
"""Interfaces without Ethernet headers: xdp could not read their packets, so nftables judges them."""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from tests.support.emulated import DROPPED, IPV4, IPV6, UNJUDGED
from tests.support.namespaces import ETH_P_IP, ETH_P_IPV6, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.emulated import Host, Met

TUNNELS = {
    "ipip": ("ipip local {here} remote {there}", IPV4),
    "gre": ("gre local {here} remote {there}", IPV4),
    "sit": ("sit local {here} remote {there}", IPV6),
    "ip6tnl": ("ip6tnl mode any local {here6} remote {there6}", IPV6),
    "ip6gre": ("ip6gre local {here6} remote {there6}", IPV4),
    "wireguard": ("wireguard", IPV4),
}
OUTSIDE = {"here": "198.18.0.1", "there": "198.18.0.2", "here6": "fd00::1", "there6": "fd00::2"}
PORT = "51820"


@pytest.mark.parametrize("kind", TUNNELS)
def test_a_tunnel(host: Host, kind: str) -> None:
    """A named tunnel is judged on nftables whichever engine judges its carrier; an explicit xdp is refused."""
    ends = host.plug()
    host.local()
    tunnel(host, kind)
    sources = TUNNELS[kind][1]
    with sending(host, sources) as send:

        def meet() -> Met:
            return host.meet(ends, sources, send)

        judged(host, "l3", meet)
        host.arrange("auto", "eth0", "l3", generation=2)
        assert host.engine_of() == {"eth0": "xdp", "l3": "nftables"}
        assert meet() == DROPPED
    assert host.meet(ends) == DROPPED
    assert host.coverage("eth0", "l3").problems == ()


def test_a_tun(host: Host) -> None:
    """A packet that a process writes to a tun device, as OpenVPN does, is judged likewise."""
    pair = host.plug()
    host.local()
    with Path("/dev/net/tun").open("r+b", buffering=0) as device:
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH", b"tun0", 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
        host.ip("link set tun0 up")
        judged(host, "tun0", lambda: host.meet(pair, send=device.write))


def judged(host: Host, name: str, meet: Callable[[], Met]) -> None:
    """Packets are judged after a load by each engine, and pass before; unless named the interface is not selected."""
    host.ip(f"route add default dev {name}", f"-6 route add default dev {name}")
    assert host.select() == ()
    assert meet() == UNJUDGED
    with pytest.raises(UnavailableError, match=f"{name} carries packets without an Ethernet header") as caught:
        host.arrange("xdp", name)
    assert caught.value.exit_code == 69
    assert host.engines.observe().generation == 0
    host.arrange("auto", name)
    assert host.engine_of() == {name: "nftables"}
    assert host.why(name).startswith(f"{name} carries packets without an Ethernet header")
    assert meet() == DROPPED
    assert host.coverage(name).judged == (name,)
    assert host.coverage(name).problems == ()


@contextmanager
def sending(host: Host, sources: Sequence[str]) -> Iterator[Callable[[bytes], object]]:
    """Return a function that sends packets into the far end of the tunnel."""
    to = "l3", ETH_P_IP if sources is IPV4 else ETH_P_IPV6
    with host.far.entered():
        # Not SOCK_DGRAM: that needs a hardware address as long as the device's, and Python takes none of 16 bytes.
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with wire:
        yield lambda packet: wire.sendto(packet, to)


def tunnel(host: Host, kind: str) -> None:
    """Make a tunnel over the veth pair, called l3 at both ends."""
    back = {"here": OUTSIDE["there"], "there": OUTSIDE["here"], "here6": OUTSIDE["there6"], "there6": OUTSIDE["here6"]}
    for do, device, words in ((host.ip, "eth0", OUTSIDE), (host.there, "far0", back)):
        do(
            f"address add {words['here']}/24 dev {device}",
            f"address add {words['here6']}/64 dev {device} nodad",
            f"link add l3 type {TUNNELS[kind][0].format(**words)}",
        )
    if kind == "wireguard":
        _wireguard(host)
    for do in (host.ip, host.there):
        do("link set l3 up")


def _wireguard(host: Host) -> None:
    keys = [run("wg", "genkey") for _ in range(2)]
    ends = ((host.netns, OUTSIDE["there"]), (host.far, OUTSIDE["here"]))
    for (namespace, peer), own, other in zip(ends, keys, reversed(keys), strict=True):
        key = run("wg", "pubkey", stdin=other).strip()
        namespace.run(
            *("wg", "set", "l3", "listen-port", PORT, "private-key", "/dev/stdin"),
            *("peer", key, "allowed-ips", "0.0.0.0/0,::/0", "endpoint", f"{peer}:{PORT}"),
            stdin=own,
        )
