# SPDX-License-Identifier: Apache-2.0
"""A network made without iproute2 looks right to iproute2."""

from __future__ import annotations

import json
import socket
import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.errors import UnavailableError
from geodrop.linux.network_setup import NetworkSetup
from tests.support.namespaces import namespaces

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace


def told(netns: Namespace, *arguments: str) -> list[dict[str, Any]]:
    """Return what ip lists."""
    found: list[dict[str, Any]] = json.loads(netns.run("ip", "-json", "-details", *arguments))
    return found


def heard(sender: Namespace, address: str) -> bytes:
    """Return what arrives here at an address when another namespace sends to it."""
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[ip_address(address).version]
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, 0))
        receiver.settimeout(10)
        with sender.entered(), socket.socket(family, socket.SOCK_DGRAM) as sends:
            sends.sendto(b"x", receiver.getsockname())
        return receiver.recv(1)


def test_two_namespaces_are_joined(netns: Namespace) -> None:
    """Links, addresses and routes of both families are as requested, and packets pass both ways."""
    with namespaces("other") as [other]:
        holder = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{other.name}", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with holder:
            assert holder.stdin
            assert holder.stdout
            holder.stdin.write(b"x")
            holder.stdin.flush()
            assert holder.stdout.read(1) == b"x", "it is inside by now"
            with NetworkSetup() as setup:
                setup.join("eth0", "wan0", holder.pid)
            holder.stdin.close()
        with NetworkSetup() as setup:
            setup.bring_up("eth0")
            setup.add_addresses("eth0", map(ip_address, ["192.0.2.1", "2001:db8::1"]))
            setup.add_route("eth0", IPv4Address(0), 0)
            setup.add_route("eth0", IPv6Address(0), 0)
        with other.entered(), NetworkSetup() as setup:
            setup.bring_up("wan0")
            setup.add_addresses("wan0", map(ip_address, ["198.51.100.1", "2001:db8:1::1"]))
            setup.add_route("wan0", IPv4Address("192.0.2.1"), 32)
            setup.add_route("wan0", IPv6Address("2001:db8::1"), 128)
        [link] = told(netns, "link", "show", "eth0")
        assert link["linkinfo"]["info_kind"] == "veth"
        assert "UP" in link["flags"]
        [addresses] = told(netns, "address", "show", "dev", "eth0", "scope", "global")
        assert {(one["local"], one["prefixlen"]) for one in addresses["addr_info"] if one} == {
            ("192.0.2.1", 32),
            ("2001:db8::1", 128),
        }
        for family in "46":
            [route] = told(netns, f"-{family}", "route", "show", "default")
            assert (route["type"], route["dev"], "gateway" in route) == ("unicast", "eth0", False)
        for address in ("192.0.2.1", "2001:db8::1"):
            [route] = told(other, "route", "get", address)
            assert route["dev"] == "wan0"
            assert heard(other, address) == b"x", "without duplicate address detection it answers at once"


def test_what_the_kernel_refuses_is_said(netns: Namespace) -> None:
    """A refusal names the request and the reason; nothing is made."""
    with NetworkSetup() as setup:
        netns.run("ip", "link", "add", "eth0", "type", "bridge")
        with pytest.raises(UnavailableError, match=r"refused to make interface eth0 \(File exists"):
            setup.join("eth0", "far0", 1)
        with pytest.raises(UnavailableError, match=r"refused to bring up eth1 \(No such device"):
            setup.bring_up("eth1")
        with pytest.raises(UnavailableError, match="interface eth1 is not there"):
            setup.add_addresses("eth1", [IPv4Address("192.0.2.1")])
        with pytest.raises(
            UnavailableError, match=r"refused to add a route to 192\.0\.2\.1/32 by eth0 \(Network is down"
        ):
            setup.add_route("eth0", IPv4Address("192.0.2.1"), 32)
    assert netns.run("ip", "route", "show") == ""
