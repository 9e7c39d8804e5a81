# SPDX-License-Identifier: Apache-2.0
"""Which of the kernel's events count as a change."""

from __future__ import annotations

from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.linux import network_events
from geodrop.linux.network_events import NetworkEvents

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace


def test_events(netns: Namespace) -> None:
    """Interfaces that come, go, are renamed or become a port count, as do default routes of any table; nothing else."""
    with NetworkEvents() as events:
        assert not events.read()
        for command, news in (
            ("link add eth0 type veth peer name far0", True),
            ("link set far0 up", False),
            ("link set eth0 up", False),
            ("address add 192.0.2.1/24 dev eth0", False),
            ("route add 198.51.100.0/24 dev eth0", False),
            ("-6 route add fc00::/7 dev eth0", False),
            ("rule add from 192.0.2.1 table 100", False),
            ("route add default dev eth0", True),
            ("route add default dev eth0 table 100", True),
            ("-6 route add default dev eth0 table 100", True),
            ("route delete default", True),
            ("route add 0.0.0.0/1 dev eth0", True),
            ("route add 64.0.0.0/2 dev eth0", False),
            ("-6 route add 2000::/3 dev eth0", True),
            ("link property add dev eth0 altname uplink", True),
            ("link property del dev eth0 altname uplink", True),
            ("link add br0 type bridge", True),
            ("link set eth0 master br0", True),
            ("link set eth0 nomaster", True),
            ("link set eth0 down", None),
            ("link set eth0 mtu 1400", False),
            ("link set eth0 name wan0", True),
            ("link delete wan0", True),
        ):
            netns.run("ip", *command.split())
            told = events.read()
            assert news is None or told == news, command


@pytest.mark.parametrize("compatible", [True, False])
def test_a_nexthop_that_moves(netns: Namespace, compatible: bool) -> None:  # noqa: FBT001
    """A default route through a nexthop object changes with the object, reported as a route or only as the object."""
    Path("/proc/sys/net/ipv4/nexthop_compat_mode").write_text(str(int(compatible)), encoding="ascii")
    for number in (0, 1):
        netns.run("ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
        netns.run("ip", "link", "set", f"far{number}", "up")
        netns.run("ip", "link", "set", f"eth{number}", "up")
        netns.run("ip", "address", "add", f"192.0.{number}.1/24", "dev", f"eth{number}")
    netns.run("ip", "nexthop", "add", "id", "1", "via", "192.0.0.2", "dev", "eth0")
    netns.run("ip", "route", "add", "default", "nhid", "1")
    with NetworkEvents() as events:
        netns.run("ip", "nexthop", "replace", "id", "1", "via", "192.0.1.2", "dev", "eth1")
        assert events.read()
        # A nexthop object without a default route counts only where the kernel does not report the routes that use it.
        netns.run("ip", "nexthop", "add", "id", "2", "via", "192.0.1.3", "dev", "eth1")
        assert events.read() is not compatible


def test_lost_events_are_news(netns: Namespace) -> None:
    """A queue overflow is reported as a change and everything is read again: missed events do not count later."""
    with NetworkEvents() as events:
        events._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1)  # the kernel's least
        for number in range(30):
            netns.run("ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
        assert events.read()
        events._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20)
        assert {f"eth{number}" for number in range(30)} <= {link.name for link in events._known.values()}
        netns.run("ip", "link", "set", "eth29", "up")
        netns.run("ip", "link", "set", "eth29", "alias", "seen before")
        assert not events.read()


def test_what_cannot_be_read_again_is_news_as_it_comes(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a loss, interfaces that change too fast to be read are reported one by one."""

    def fails() -> None:
        raise UnavailableError("interfaces keep changing")

    with NetworkEvents() as events:
        # The interface is down: of one that is up, the kernel sends more events later. A changed MTU does not count.
        netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
        assert events.read()
        events._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1)
        for number in range(30):
            netns.run("ip", "link", "set", "lo", "alias", f"{number}" * 100)
        monkeypatch.setattr(network_events, "_links", fails)
        assert events.read()
        events._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20)
        netns.run("ip", "link", "set", "eth0", "mtu", "1400")
        assert events.read()
