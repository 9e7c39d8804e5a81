# SPDX-License-Identifier: Apache-2.0
"""A host at the edge of an API: a Debian machine with geodrop, and clients of every kind that send all the time.

Each power on gives it a new network namespace with a connected interface that is down, so that the boot brings it up.
Probes run from before the first process until after the last.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.namespaces import End, Namespace, require, run
from tests.system.machine import REPOSITORY, Machine, image, machine
from tests.system.probes import Probes

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

DENIED = ("1.2.4.8", "2400:3200::1")
"""China, in the bundled database, one of each family."""
ALLOWED = ("8.8.8.8", "2600::1")
"""The United States."""
SWITCHED = ("133.11.0.1", "2001:200::1")
"""Japan: allowed by the first policy; tests deny it and allow it again."""
SOURCES = (*DENIED, *ALLOWED, *SWITCHED)

LOCAL = {4: "198.18.0.1", 6: "2001:2::1"}
NETWORK = """
ip address add 198.18.0.1/24 dev eth0
ip address add 2001:2::1/64 dev eth0 nodad
ip link set eth0 up
ip route add default via 198.18.0.2
ip route add default via 2001:2::2
"""
CLIENT = """
ip address add 198.18.0.2/24 dev eth0
ip address add 2001:2::2/64 dev eth0 nodad
ip link set eth0 up
"""
AGENT = 'source: {policy: policy.yaml, databases: [/var/lib/GeoIP/country.mmdb]}\ninterfaces: ["eth*"]\n'
POLICY = (REPOSITORY / "deploy/policies/deny-list.yaml").read_text(encoding="utf-8") + "limits: {blast_radius: 20%}\n"
"""Japan has more than the 5% of IPv4 that a change may move if the policy says nothing."""
assert "deny: [CN," in POLICY
JAPAN_DENIED = POLICY.replace("deny: [CN,", "deny: [JP, CN,")

SCRAPE = "import urllib.request as it; print(it.urlopen('http://127.0.0.1:9817/metrics').read().decode())"

SECONDS = 120.0
"""Limit for anything that is waited for; machines are slow now and then, and the final table shows how long it took."""

SOME = 0.4
"""Seconds in which enough probes are sent to see what happens to them."""


def require_machines() -> None:
    """Skip if no machine can be started; in CI that is a failure, so that the tests are not skipped unnoticed."""
    require()
    missing = [name for name in ("debootstrap", "systemd-nspawn") if not shutil.which(name)]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI must start machines: {', '.join(missing)} is missing")
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing")


@dataclass
class Edge:
    """The host and its clients. `times` are the measurements, in seconds."""

    machine: Machine
    client: Namespace
    times: dict[str, float]
    namespace: Namespace | None = None
    probes: Probes | None = None
    _until_off: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def power_on(self) -> None:
        """Boot, and wait until the boot is over."""
        self.power_on_only()
        assert self.machine.wait_until_up() == "running", self.machine.run("systemctl", "--failed")

    def power_on_only(self) -> None:
        """Begin to boot."""
        self.namespace = Namespace.make("edge")
        self._until_off.callback(self.namespace.delete)
        self.plug_in()
        self._until_off.callback(self.unplug)
        inside, outside = End(self.namespace, "eth0"), End(self.client, "eth0")
        self.probes = self._until_off.enter_context(Probes(outside, inside, SOURCES, LOCAL))
        self.machine.start(self.namespace)

    def plug_in(self) -> None:
        """Give the host its interface, down; it always has the same hardware address."""
        assert self.namespace
        there = ("peer", "name", "eth0", "address", "02:00:00:00:00:01", "netns", self.namespace.name)
        here = ("eth0", "address", "02:00:00:00:00:02", "netns", self.client.name)
        run("ip", "link", "add", *here, "type", "veth", *there)
        for command in CLIENT.strip().splitlines():
            self.client.run(*command.split())

    def unplug(self) -> None:
        """Remove the interface at both ends; the end of the namespace would do that too, some time later."""
        run("ip", "-n", self.client.name, "link", "delete", "eth0")

    def power_off(self) -> None:
        """Shut down in order; the last probes are sent to a machine without processes."""
        self.machine.stop()
        self._until_off.close()

    def cut_power(self) -> None:
        """End everything at once."""
        self.machine.cut_power()
        self._until_off.close()

    def geodrop(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command line as root on the host."""
        return self.machine.try_run("geodrop", *arguments)

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run systemctl on the host."""
        return self.machine.try_run("systemctl", *arguments)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.machine.run("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def moment(self, unit: str, name: str) -> float:
        """Return when something happened to a unit, in seconds of time.monotonic(), which all containers share."""
        return int(self.show(unit, f"{name}TimestampMonotonic")) / 1e6

    def status(self) -> dict[str, Any]:
        """Return the object of `status --json`."""
        found: dict[str, Any] = json.loads(self.geodrop("status", "--json").stdout)
        return found

    def deadline(self) -> int:
        """Return when the load that waits is undone, in nanoseconds of CLOCK_MONOTONIC; 0 if none waits."""
        intent = json.loads((self.machine.root / "var/lib/geodrop/intent.json").read_text(encoding="utf-8"))
        return int(intent["confirm"]["deadline"]) if intent["confirm"] else 0

    def word(self) -> tuple[str, int]:
        """Return the first word of `status`, and its exit code."""
        done = self.geodrop("status", "--json")
        return json.loads(done.stdout)["state"], done.returncode

    def problem(self, text: str) -> str:
        """Return the first problem line of `status` that contains a text; "" if none does."""
        return next((line for line in self.status()["problems"] if text in line), "")

    def wait_for_health(self) -> None:
        """Wait until there is no problem, and packets are judged by the policy."""
        self.wait_for("health", lambda: self.word() == ("enforcing", 0))

    def told(self, count: int) -> list[str]:
        """Return the origins of the last entries of the history, the newest last."""
        lines = self.machine.run("geodrop", "history", "--json", "-n", str(count)).splitlines()
        return [json.loads(line)["origin"] for line in reversed(lines)]

    def log(self, event: str, count: int = 1) -> list[dict[str, str]]:
        """Return the log entries of a kind since the boot, once there are `count`: the journal writes with delay."""
        found: list[str] = []

        def written() -> bool:
            command = ("journalctl", "-b", "-o", "json", "-u", "geodrop", f"GEODROP_EVENT={event}")
            found[:] = self.machine.run(*command).splitlines()
            return len(found) >= count

        self.wait_for(f"{count} log entries {event}", written)
        return [json.loads(line) for line in found]

    def metrics(self) -> dict[str, float]:
        """Scrape the host; return the series without labels."""
        lines = self.machine.run("/usr/bin/python3", "-c", SCRAPE).splitlines()
        plain = [line.split() for line in lines if line and line[0] != "#" and "{" not in line]
        return {name: float(value) for name, value in plain}

    def policy(self, text: str) -> None:
        """Write the policy; nothing is reloaded."""
        self.machine.write("/etc/geodrop/policy.yaml", text, 0o640)
        self.machine.own("/etc/geodrop/policy.yaml", "root", "geodrop")

    def agent(self, text: str) -> None:
        """Write agent.yaml."""
        self.machine.write("/etc/geodrop/agent.yaml", text, 0o640)
        self.machine.own("/etc/geodrop/agent.yaml", "root", "geodrop")

    def wait_for(self, what: str, there: Callable[[], object]) -> float:
        """Poll until something is true; return when that was. Fails after SECONDS."""
        deadline = time.monotonic() + SECONDS
        while not there():
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {SECONDS:.0f} s\n{self.machine.journal('geodrop*')}")
            time.sleep(0.02)
        return time.monotonic()

    def passed(self, sources: Sequence[str], since: float, until: float) -> dict[str, tuple[int, int]]:
        """For each source, return how many probes of that time were sent, and how many passed."""
        assert self.probes
        found = [self.probes.outcome(source, since, until) for source in sources]
        return {one.source: (one.sent, one.passed) for one in found}

    def assert_in_force(
        self, since: float, until: float, denied: Sequence[str] = DENIED, allowed: Sequence[str] = ALLOWED
    ) -> None:
        """Check that in that time no probe of `denied` passed and all of `allowed` did; and that there were probes."""
        leaks = {source: one for source, one in self.passed(denied, since, until).items() if one[1]}
        drops = {source: one for source, one in self.passed(allowed, since, until).items() if one[0] != one[1]}
        sent = self.passed(denied[:1], since, until)
        assert not leaks, f"of (sent, passed) these leaked: {leaks}\n{self.machine.journal('geodrop*')}"
        assert not drops, f"of (sent, passed) these were dropped wrongly: {drops}\n{self.machine.journal('geodrop*')}"
        assert all(count for count, _ in sent.values()), "no probe was sent"

    @contextlib.contextmanager
    def watched(self, denied: Sequence[str] = DENIED, allowed: Sequence[str] = ALLOWED) -> Iterator[None]:
        """Check that every packet is judged right from the beginning to the end of the body."""
        since = time.monotonic()
        yield
        self.assert_in_force(since, time.monotonic(), denied, allowed)

    def assert_now(self, denied: Sequence[str] = DENIED, allowed: Sequence[str] = ALLOWED) -> None:
        """Check from now on, for some hundred probes."""
        with self.watched(denied, allowed):
            time.sleep(SOME)


@contextlib.contextmanager
def edge(release: str, folder: Path, times: dict[str, float]) -> Iterator[Edge]:
    """Yield a host with geodrop, a database, a policy and an agent.yaml, never started yet."""
    with unconfigured(image(release, folder), folder, "country.mmdb", times) as host:
        host.policy(POLICY)
        host.agent(AGENT)
        yield host


@contextlib.contextmanager
def unconfigured(below: Path, folder: Path, database: str, times: dict[str, float]) -> Iterator[Edge]:
    """Yield a host with a network and a database, made from a root."""
    with machine(below, folder) as made:
        made.write("/etc/test-network.sh", NETWORK)
        [packed] = (REPOSITORY / "agent/geodrop/data").glob("*.xz")
        at = made.root / "var/lib/GeoIP" / database
        at.parent.mkdir(parents=True)
        at.write_bytes(lzma.decompress(packed.read_bytes()))
        client = Namespace.make("client")
        host = Edge(made, client, times)
        try:
            yield host
        finally:
            host.cut_power()
            client.delete()
