# SPDX-License-Identifier: Apache-2.0
"""TCP segments that offload made larger than 64 KB, with IP length 0: the generic hook reads them like others."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces, require
from tests.support.worlds import POLICY_CN, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.xdp.pins import Pins

pytestmark = pytest.mark.root

LARGEST = 180_000
FIELD_HOLDS = 65_535
CHUNK = 8 << 20
SECONDS = 60
RTM_SETLINK, NLM_F_REQUEST, NLM_F_ACK = 19, 1, 4
IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE = 41, 58, 63, 64
ADDRESSES = {4: ("2.2.2.2", "2.2.2.1", 24), 6: ("2600::2", "2600::1", 64)}
"""Client address, server address, and their prefix length."""


def allow_big_segments(end: End) -> None:
    """Let an interface send and merge segments over 64 KB; older `ip` can set that for IPv6 only."""
    sizes = (IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE)
    with end.namespace.entered(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(end.name), 0, 0)
        body += b"".join(struct.pack("=HHI", 8, size, LARGEST) for size in sizes)
        netlink.send(struct.pack("=IHHII", 16 + len(body), RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body)
        [error] = struct.unpack_from("=i", netlink.recv(4_096), 16)
    if error:
        pytest.skip(f"this kernel has no BIG TCP for both families (error {-error})")


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """Yield a client and a server."""
    require()
    with namespaces("client", "server") as [client, server]:
        pair = tuple(
            End(namespace, "eth0", [f"{hosts[at]}/{length}" for *hosts, length in ADDRESSES.values()])
            for at, namespace in enumerate((client, server))
        )
        join(*pair)
        for end in pair:
            allow_big_segments(end)
        yield pair[0], pair[1]


class Transfer:
    """A connection whose client sends and whose server reads and counts."""

    def __init__(self, client: End, server: End, family: int) -> None:
        kind = {4: socket.AF_INET, 6: socket.AF_INET6}[family]
        with server.namespace.entered(), socket.socket(kind) as listener:
            listener.bind((ADDRESSES[family][1], 443))
            listener.listen()
            with client.namespace.entered():
                self._client = socket.create_connection((ADDRESSES[family][1], 443), SECONDS)
            self._server, _ = listener.accept()
        self.read = 0
        self._thread = threading.Thread(target=self._reads)
        self._thread.start()

    def _reads(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self._server.recv(1 << 20):
                self.read += len(piece)

    def carries(self, seconds: float) -> bool:
        """Send a chunk, and tell whether all of it has been read by the deadline."""
        wanted, deadline = self.read + CHUNK, time.monotonic() + seconds
        self._client.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            self._client.sendall(bytes(CHUNK))
        while self.read < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.read == wanted

    def close(self) -> None:
        """Close both ends."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._client.close()
        self._server.close()


def accepted(engine: XdpEngine, family: int) -> tuple[int, int]:
    """Return the accepted packets and bytes of the service."""
    [count] = [one for one in engine.counters() if one.family == f"ipv{family}" and one.label is None]
    return count.accepted


@pytest.mark.parametrize("family", [4, 6])
def test_segments_without_a_length_are_read(ends: tuple[End, End], pins: Pins, tmp_path: Path, family: int) -> None:
    """Segments of an allowed client arrive and are counted in full; segments of a client denied later do not arrive."""
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins, attach=("generic",))
        engine.apply(compiled(POLICY_CN, tmp_path), 1, ["eth0"])
        with contextlib.closing(Transfer(*ends, family)) as transfer:
            deadline = time.monotonic() + SECONDS
            packets = size = 0
            while size <= packets * FIELD_HOLDS:
                assert time.monotonic() < deadline, f"{packets} packets with {size} bytes: none was large"
                before = accepted(engine, family)
                assert transfer.carries(SECONDS)
                packets, size = (now - then for now, then in zip(accepted(engine, family), before, strict=True))
                assert size > CHUNK
            engine.apply(compiled(POLICY_CN.replace("[CN]", "[CN, US]"), tmp_path), 2, ["eth0"])
            already = transfer.read
            assert not transfer.carries(1)
            assert transfer.read == already
        engine.remove()
