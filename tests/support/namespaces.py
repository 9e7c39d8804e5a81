# SPDX-License-Identifier: Apache-2.0
"""Network namespaces for tests: make them, join them by veth pairs, run code inside, send hand-made packets.

Nothing here touches the namespace that the tests were started in, apart from /run/netns, where `ip netns` keeps names.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import itertools
import os
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CLONE_NEWNET = 0x4000_0000
ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD
ETH_P_8021Q = 0x8100
ETH_P_8021AD = 0x88A8
SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
SIOCGIFHWADDR = 0x8927

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and return its output; raise an error with the command's own message if it fails."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def missing() -> str:
    """Return why tests in namespaces cannot run here; empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces and nf_tables need root"
    name = f"geodrop-probe-{os.getpid()}"
    try:
        run("ip", "netns", "add", name)
        try:
            run("ip", "netns", "exec", name, "nft", "add", "table", "inet", "probe")
        finally:
            run("ip", "netns", "delete", name)
    except (RuntimeError, FileNotFoundError) as error:
        return str(error)
    return ""


def require() -> None:
    """Skip the running test where the kernel cannot be tested; in CI fail it, so that no gap goes unseen."""
    if reason := _why_not():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must test the kernel: {reason}")
        pytest.skip(reason)


_why_not = functools.cache(missing)


@dataclass(frozen=True)
class Namespace:
    """A named network namespace with nothing but a loopback that is up."""

    name: str

    @classmethod
    def make(cls, role: str = "t") -> Self:
        """Make a namespace; `role` is part of its name, so that leftovers show where they came from."""
        namespace = cls(f"geodrop-{role}-{os.getpid()}-{next(_numbers)}")
        run("ip", "netns", "add", namespace.name)
        namespace.run("ip", "link", "set", "lo", "up")
        return namespace

    def delete(self) -> None:
        """Remove the name; the namespace goes with the last process in it."""
        run("ip", "netns", "delete", self.name)

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a command inside."""
        return run("nsenter", f"--net=/run/netns/{self.name}", *command, stdin=stdin)

    def nft(self, text: str) -> None:
        """Load nft text inside."""
        self.run("nft", "-f", "-", stdin=text)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run the body with the calling thread inside; sockets opened there stay there."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        inside = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(inside)
            yield
        finally:
            _setns(before)
            os.close(inside)
            os.close(before)


@contextlib.contextmanager
def namespaces(*roles: str) -> Iterator[list[Namespace]]:
    """Make a namespace for each role, and remove them after the block."""
    with contextlib.ExitStack() as stack:
        made = []
        for role in roles:
            namespace = Namespace.make(role)
            stack.callback(namespace.delete)
            made.append(namespace)
        yield made


@dataclass(frozen=True)
class End:
    """One end of a veth pair. Addresses are given with their prefix length, as in 192.0.2.1/24."""

    namespace: Namespace
    name: str
    addresses: Sequence[str] = ()


def join(left: End, right: End) -> None:
    """Join two namespaces by a veth pair: both ends up, addresses usable at once, spoofed sources accepted."""
    peer = ("peer", "name", right.name, "netns", right.namespace.name)
    run("ip", "link", "add", left.name, "netns", left.namespace.name, "type", "veth", *peer)
    for end in (left, right):
        # Reverse path filtering would drop spoofed sources; router solicitations are packets that no test sent.
        settings = ["ipv4/conf/all/rp_filter", f"ipv4/conf/{end.name}/rp_filter"]
        settings += [f"ipv6/conf/{end.name}/{name}" for name in ("accept_dad", "router_solicitations")]
        with end.namespace.entered():
            for setting in settings:
                Path("/proc/sys/net", setting).write_text("0", encoding="ascii")
        for address in end.addresses:
            end.namespace.run("ip", "address", "add", address, "dev", end.name)
        end.namespace.run("ip", "link", "set", end.name, "up")


def mac_address(end: End) -> bytes:
    """Return the hardware address of an interface."""
    # sysfs shows the namespace it was mounted in; an ioctl uses the namespace of its socket.
    with end.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        answer = fcntl.ioctl(asker, SIOCGIFHWADDR, struct.pack("16s16x", end.name.encode()))
    return bytes(answer[18:24])


class PacketSender:
    """Sends IP packets with any source from one end of a veth pair, addressed to the other end."""

    def __init__(self, source: End, sink: End) -> None:
        self._to = (source.name, 0, 0, mac_address(sink))
        with source.namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        # Bypass the queue: packets that the sender counts as sent have then arrived at the peer, in order.
        self._socket.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)

    def send(self, packets: Iterable[bytes]) -> int:
        """Send whole IP packets of either family; return how many."""
        interface, packet_type, hardware_type, mac = self._to
        count = 0
        for packet in packets:
            protocol = ETH_P_IP if packet[0] >> 4 == 4 else ETH_P_IPV6
            self._socket.sendto(packet, (interface, protocol, packet_type, hardware_type, mac))
            count += 1
        return count

    def send_tagged(self, packet: bytes, tags: Sequence[tuple[int, int]]) -> None:
        """Send one packet behind VLAN tags, outermost first: each has a type and 16 bits of priority and identifier."""
        interface, packet_type, hardware_type, mac = self._to
        protocol = ETH_P_IP if packet[0] >> 4 == 4 else ETH_P_IPV6
        for kind, identifier in reversed(tags):
            packet = struct.pack("!HH", identifier, protocol) + packet
            protocol = kind
        self._socket.sendto(packet, (interface, protocol, packet_type, hardware_type, mac))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _setns(descriptor: int) -> None:
    # os.setns is new in Python 3.12.
    if _libc.setns(descriptor, CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "setns")
