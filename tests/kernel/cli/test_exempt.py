# SPDX-License-Identifier: Apache-2.0
"""Exemptions through the real command line, on each engine and without a daemon, with packets."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.conformance.frames import encode
from tests.oracle.packet import Packet
from tests.support.bpffs import own_mounts
from tests.support.cli import Geodrop
from tests.support.namespaces import End, PacketSender, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.cli.conftest import Host

    Send = Callable[[str], str]

DENIED, DENIED6 = "1.0.0.1", "2400::1"
DEADLINE = 60


@pytest.fixture
def host(host: Host) -> Iterator[Host]:
    """Return a host that can pin XDP programs, in a bpffs of its own."""
    with own_mounts() as entering:
        yield dataclasses.replace(host, geodrop=Geodrop(host.geodrop.folder, host.netns, entering))


@pytest.fixture
def send(host: Host) -> Iterator[Send]:
    """Send a packet to the service from an address; return what it counted as."""
    with namespaces("net") as [net]:
        outside, inside = End(net, "net0", ["192.0.2.2/24"]), End(host.netns, "eth0", ["192.0.2.1/24"])
        join(outside, inside)

        def totals() -> dict[str, int]:
            counts = host.geodrop.good("counters", "--json").json_lines
            names = ("dropped", "would_drop", "accepted", "exempted")
            return {name: sum(one[name]["packets"] for one in counts if name in one) for name in names}

        known: list[dict[str, int]] = []

        with PacketSender(outside, inside) as sender:

            def one(source: str) -> str:
                known[:] = known or [totals()]
                before = known.pop()
                dest = "2001:db8::1" if ":" in source else "192.0.2.1"
                sender.send([encode(Packet(source=source, dest=dest, dport=443), 1)])
                known.append(after := totals())
                [name] = [name for name in after if after[name] > before[name]]
                return name

            yield one


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_one_client_through(host: Host, send: Send, engine: str) -> None:
    """It passes from the next packet on, whatever is loaded next, until it is ended; status, list and explain tell."""
    geodrop = host.geodrop
    load = ("load", "--engine", engine, "--interface", "eth0")
    geodrop.good(*load, host.cn)
    said = geodrop.good("exempt", DENIED, "--for", "2h", "--why", "CASE-7").out
    assert said.startswith(f"{DENIED} passes api until ")
    assert said.endswith(" (CN, CN.yaml:7 would drop it); this host only\n")
    geodrop.good("exempt", "2400::/32", "--for", "30m")
    assert (send(DENIED), send("1.0.0.2"), send(DENIED6)) == ("exempted", "dropped", "exempted")
    first, second = geodrop.good("exempt", "--json").json_lines
    assert (first["source"], first["packets"], first["in_force"]) == ("2400::/32", 1, True)
    assert (second["source"], second["packets"], second["why"]) == (f"{DENIED}/32", 1, "CASE-7")
    assert [line.split()[0] for line in geodrop.good("exempt").out.splitlines()] == ["2400::/32", f"{DENIED}/32"]
    lines = geodrop.good("explain", DENIED).out.splitlines()
    assert lines[0].startswith("ACCEPT  api: exempted until ")
    assert lines[0].endswith(" (CASE-7); else DROP")
    assert lines[1].startswith("DROP    CN: api denies CN")
    assert lines[-1] == "kernel  agrees (generation 1)"
    answer = geodrop.good("explain", "--json", DENIED).json
    assert (answer["verdict"], answer["would_drop"], answer["exempted"]["why"]) == ("accept", True, "CASE-7")
    status = geodrop.good("status", "--json").json
    assert ([one["source"] for one in status["exemptions"]], status["problems"]) == (["2400::/32", f"{DENIED}/32"], [])
    geodrop.good("pause")
    assert (send(DENIED), send("1.0.0.2")) == ("exempted", "would_drop")
    geodrop.good(*load, host.ru)
    geodrop.good("resume")
    geodrop.good(*load, host.cn)
    assert send(DENIED) == "exempted"
    assert geodrop.good("exempt", "--json").json_lines[1]["packets"] == 3
    assert geodrop.good("exempt", DENIED, "--end").out == f"{DENIED} is not exempt any more\n"
    assert (send(DENIED), send(DENIED6)) == ("dropped", "exempted")
    origins = [one["origin"] for one in geodrop.good("history", "--json").json_lines]
    assert origins.count("exempt") == 3
    assert geodrop.good("verify").code == 0
    geodrop.good("unload")


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_it_ends_by_itself(host: Host, send: Send, engine: str) -> None:
    """No process runs when its time is over; that is no difference, and nobody is exempt any more."""
    geodrop = host.geodrop
    geodrop.good("load", "--engine", engine, "--interface", "eth0", host.cn)
    geodrop.good("exempt", DENIED, "--for", "1s")
    deadline = time.monotonic() + DEADLINE
    while send(DENIED) == "exempted":
        assert time.monotonic() < deadline
    status = geodrop.good("status", "--json").json
    assert (status["exemptions"], status["state"]) == ([], "enforcing")
    assert geodrop.good("exempt").out == "nobody is exempt\n"
    geodrop.good("unload")


def test_after_a_boot(host: Host, send: Send) -> None:
    """The boot lets it pass with the rest of its time, unless the clock is earlier than the exemption: it says so."""
    geodrop = host.geodrop
    geodrop.good("load", "--engine", "nftables", "--interface", "eth0", host.cn)
    geodrop.good("exempt", DENIED, "--for", "2h")
    config = geodrop.folder / "agent.yaml"
    config.write_text(config.read_text() + "interfaces: [eth0]\n")
    path = geodrop.folder / "state" / "exemptions.json"
    for ahead, verdict in ((-60, "exempted"), (86_400, "dropped")):
        content = json.loads(path.read_text())
        [one] = content["exemptions"]
        created = int(time.time()) + ahead
        one |= {"boot": "another", "deadline": 1, "created": created, "expires": created + 7200}
        path.write_text(json.dumps(content))
        host.netns.run("nft", "delete", "table", "inet", "geodrop")
        booted = geodrop.good("load", "--boot")
        assert send(DENIED) == verdict
        assert ("is held back" in booted.err) == (verdict == "dropped")
        status = geodrop.run("status", "--json").json
        assert [entry["held_back"] for entry in status["exemptions"]] == [verdict == "dropped"]
        assert any("is held back" in line for line in status["problems"]) == (verdict == "dropped")


def test_what_is_not_taken(host: Host) -> None:
    """Each wrong form has its code and names what to do."""
    geodrop = host.geodrop
    assert geodrop.run("exempt", DENIED, "--for", "2h").code == 3
    geodrop.good("load", "--engine", "nftables", "--interface", "lo", host.cn)
    for arguments, code, told in (
        (("1.0.0.0/15", "--for", "2h"), 2, "geodrop pause"),
        ((DENIED, "--for", "8d"), 2, "exempt_max"),
        ((DENIED,), 2, "--for TIME, or --end"),
        (("1.0.0.1/24", "--for", "2h"), 65, "1.0.0.0/24"),
        (("nobody", "--for", "2h"), 65, "neither an address nor a prefix"),
        ((DENIED, "--end"), 65, "see: geodrop exempt"),
    ):
        done = geodrop.run("exempt", *arguments)
        assert (done.code, told in done.err) == (code, True), done.err
    config = geodrop.folder / "agent.yaml"
    text = config.read_text()
    config.write_text(text + "exempt_max: 1h\n")
    assert geodrop.run("exempt", DENIED, "--for", "2h").code == 2
    config.write_text(text + "exempt_max: 53w\n")
    assert geodrop.run("check").code == 78


def test_on_both_engines_at_once(host: Host) -> None:
    """Interfaces on different engines let it pass alike, and the list adds up what passed."""
    with namespaces("net") as [net]:
        wires = []
        for number, name in enumerate(("eth0", "wan0")):
            wires.append((End(net, f"net{number}"), End(host.netns, name)))
            join(*wires[-1])
        geodrop = host.geodrop
        geodrop.good("load", "--engine", "auto", "--interface", "eth0", "--interface", "wan*", host.cn)
        geodrop.good("exempt", DENIED, "--for", "2h")
        for outside, inside in wires:
            with PacketSender(outside, inside) as sender:
                sender.send([encode(Packet(source=DENIED, dest="192.0.2.1", dport=443), 1)])
        [one] = geodrop.good("exempt", "--json").json_lines
        assert one["packets"] == 2
        geodrop.good("unload")
