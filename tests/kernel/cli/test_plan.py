# SPDX-License-Identifier: Apache-2.0
"""`geodrop plan` against a real kernel: what it says would be cut is cut, and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.namespaces import End, join, namespaces
from tests.support.users import as_user, open_to_others
from tests.support.worlds import POLICY_CN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.cli.conftest import Host
    from tests.support.namespaces import Namespace

SERVER, GATEWAY = "192.0.2.1", "2.0.0.254"
CHINA, RUSSIA, STATES = "1.0.0.1", "2.0.0.1", "3.0.0.1"
EVERYTHING = """
version: 1
services:
  all: {default: deny, unknown: allow, allow: [US]}
never_drop: {}
limits: {blast_radius: none}
"""


class Network(NamedTuple):
    """A host with a server, and clients in several countries behind a veth; each client has one open connection."""

    host: Host
    clients: dict[str, socket.socket]
    served: dict[str, socket.socket]

    def arrives(self, client: str) -> bool:
        """Return whether data of a client reaches the server; what is dropped is not waited for."""
        self.clients[client].sendall(client.encode())
        # What is sent after it, by a client that nobody denies, has arrived.
        self.clients[STATES].sendall(b"after")
        self.served[STATES].recv(5)
        with contextlib.suppress(BlockingIOError):
            return self.served[client].recv(64, socket.MSG_DONTWAIT) == client.encode()
        return False


@pytest.fixture
def network(host: Host) -> Iterator[Network]:
    """A host with open connections from three countries to port 443, and China denied."""
    with namespaces("world") as [world], contextlib.ExitStack() as stack:
        joined(world, host.netns)
        server = stack.enter_context(socket.create_server((SERVER, 443)))
        clients, served = {}, {}
        for address in (CHINA, RUSSIA, STATES):
            with world.entered():
                client = socket.create_connection((SERVER, 443), source_address=(address, 0))
            clients[address] = stack.enter_context(client)
            served[address] = stack.enter_context(server.accept()[0])
        host.geodrop.good("load", "--interface", "eth0", host.cn)
        yield Network(host, clients, served)


def joined(world: Namespace, here: Namespace) -> None:
    """Join the host to the world, where all clients are."""
    far = End(world, "eth0", [f"{address}/32" for address in (CHINA, RUSSIA, STATES, GATEWAY)])
    join(far, End(here, "eth0", [f"{SERVER}/32"]))
    world.run("ip", "route", "add", SERVER, "dev", "eth0")
    here.run("ip", "route", "add", "default", "via", GATEWAY, "dev", "eth0", "onlink")


def test_what_would_be_cut_is_cut(network: Network) -> None:
    """The connections of a newly denied country are counted before the change, and carry no data after it; others do.

    Planning itself changes nothing.
    """
    host, before = network.host, network.host.netns.run("nft", "list", "ruleset")
    plan = host.geodrop.good("plan", "--json", host.ru).json
    assert plan["connections"] == {"open": 3, "cut": [{"service": "api", "region": "RU", "count": 1}]}
    assert plan["own"] == [{"what": "gateway", "address": GATEWAY, "service": "api"}]
    assert host.netns.run("nft", "list", "ruleset") == before
    assert network.arrives(RUSSIA)
    host.geodrop.good("load", "--interface", "eth0", host.ru)
    assert not network.arrives(RUSSIA)
    again = host.geodrop.good("plan", host.ru)
    assert again.out.startswith("plan  nothing would change")


def test_the_operator_would_be_locked_out(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """An allow list that forgot the office says so before it cuts the operator off, and holds the change."""
    host = network.host
    monkeypatch.setenv("SSH_CONNECTION", f"{RUSSIA} 50000 {SERVER} 22")
    forgot = str(host.geodrop.compile(EVERYTHING, host.geodrop.folder / "country.mmdb", name="forgot"))
    plan = host.geodrop.run("plan", "--json", "--exit-code", forgot)
    assert plan.code == 5
    assert [(one["limit"], one["service"], one["value"]) for one in plan.json["held"]] == [("ssh_peer", "all", RUSSIA)]
    assert {"what": "ssh", "address": RUSSIA, "service": "all"} in plan.json["own"]
    # China is dropped already.
    assert plan.json["warnings"] == ["all: its allow list leaves out regions with open connections: RU (1)"]
    monkeypatch.setenv("SSH_CONNECTION", f"{STATES} 50000 {SERVER} 22")
    assert host.geodrop.run("plan", "--exit-code", forgot).code == 1


def test_exit_codes(host: Host) -> None:
    """0 whatever it finds; with --exit-code 1 for a change, 5 for a held one, and 0 if nothing would change."""
    more = str(host.geodrop.compile(f"# more\n{POLICY_CN}", host.geodrop.folder / "country.mmdb", name="more"))
    first = host.geodrop.run("plan", "--exit-code", host.cn)
    assert ("nothing is in force" in first.out, first.code) == (True, 1), "the first generation is not held"
    host.geodrop.good("load", "--interface", "lo", host.cn)
    # All that a database knows of IPv6 moves.
    assert [host.geodrop.run("plan", "--exit-code", one).code for one in (host.cn, more, host.ru)] == [0, 1, 5]
    done = host.geodrop.good("plan", host.ru)
    assert "held  api: " in done.out
    assert "accept exactly this: geodrop reload --accept " in done.out


def test_a_policy_without_a_daemon(host: Host) -> None:
    """--policy and --database are compiled as a reload would: the plan is of the same digest as `compile` makes."""
    folder = host.geodrop.folder
    host.geodrop.good("load", "--interface", "lo", host.cn)
    options = ["--policy", str(folder / "RU.yaml"), "--database", str(folder / "country.mmdb")]
    plan = host.geodrop.good("plan", "--json", *options).json
    assert plan["digest"] == host.geodrop.good("plan", "--json", host.ru).json["digest"]
    (folder / "RU.yaml").write_text("version: 1\n")
    assert host.geodrop.run("plan", *options).code == 78
    assert host.geodrop.run("plan").code == 78, "agent.yaml names no source"
    assert host.geodrop.run("plan", host.ru, "--policy", "x").code == 2
    assert host.geodrop.run("plan", str(folder / "none")).code == 65


def test_the_ruleset_in_force_is_gone(host: Host) -> None:
    """Without the ruleset in force there is nothing to compare with: that is an error, and not an empty plan."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    for file in (host.geodrop.folder / "state" / "rulesets").iterdir():
        file.unlink()
    done = host.geodrop.run("plan", host.ru)
    assert (done.code, done.out) == (65, "")
    assert "is not in" in done.err


def test_a_ruleset_file_without_rights(host: Host) -> None:
    """What is in force is read from the kernel: 77, and what such a user may ask for."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    open_to_others(host.geodrop.folder)
    done = dataclasses.replace(host.geodrop, before=as_user()).run("plan", host.ru)
    assert (done.code, done.out) == (77, "")
    assert done.err.endswith("members of geodrop-monitor too: geodrop plan\n")
