# SPDX-License-Identifier: Apache-2.0
"""What `status` says on real systemd is what packets meet.

Links, policies and other programs that keep packets from being judged show in its first word, its exit code, its
problems and its metrics, until the next step is taken.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.namespaces import End, run
from tests.system.edge import AGENT, ALLOWED, DENIED, LOCAL, POLICY, SOME, SWITCHED
from tests.system.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

OTHERS = ("1.2.4.9", "2400:3200::2")
"""China as well, for probes that arrive by a second cable."""

INTO_A_BRIDGE = """
ip link add br0 type bridge
ip link set eth0 master br0
ip link set br0 up
ip address add 198.18.0.1/24 dev br0
ip address add 2001:2::1/64 dev br0 nodad
ip route replace default via 198.18.0.2 dev br0
ip -6 route replace default via 2001:2::2 dev br0
"""
SECOND_UPLINK = """
ip address add 198.18.1.1/24 dev wan1
ip address add 2001:2:0:1::1/64 dev wan1 nodad
ip link set wan1 up
ip route add default via 198.18.1.2 dev wan1 table 100
ip -6 route add default via 2001:2:0:1::2 dev wan1 table 100
ip rule add from 198.18.1.1 table 100
ip -6 rule add from 2001:2:0:1::1 table 100
"""

AWAY_AND_BACK = """
ip -n away link set eth0 netns 1
ip netns delete away
sh /etc/test-network.sh
"""


def test_an_interface_that_joins_a_bridge_is_told_of(settled: Edge) -> None:
    """Its packets then belong to the bridge: not enforcing, with the next step, until the bridge is named; and back."""
    _script(settled, INTO_A_BRIDGE)
    settled.wait_for("the word", lambda: settled.word() == ("not enforcing", 3))
    assert "name br0 in `interfaces`" in settled.problem("interface eth0"), settled.status()["problems"]
    settled.assert_now((), DENIED + ALLOWED)
    settled.agent(AGENT.replace('"eth*"', '"eth*", br0'))
    assert settled.geodrop("reload").returncode == 0
    settled.wait_for_health()
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    with settled.watched(DENIED, ()):
        _script(settled, "ip link delete br0\nip address flush dev eth0\nsh /etc/test-network.sh")
    settled.wait_for("the word", lambda: settled.word() == ("enforcing, but degraded", 1))
    assert settled.problem("no interface br0"), settled.status()["problems"]
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    settled.agent(AGENT)
    assert settled.geodrop("reload").returncode == 0


def test_an_uplink_of_a_routing_table_of_its_own_is_told_of(settled: Edge) -> None:
    """With policy routing nothing judges what arrives there, which is a problem, until the interface is named."""
    with _second_cable(settled) as probes, settled.watched(DENIED, ALLOWED + SWITCHED):
        _script(settled, SECOND_UPLINK)
        settled.wait_for("the word", lambda: settled.word() == ("enforcing, but degraded", 1))
        said = settled.problem("interface wan1")
        assert "default route in table 100" in said, settled.status()["problems"]
        assert "name it in `interfaces`" in said
        assert all(passed for _, passed in _outcomes(probes))
        settled.agent(AGENT.replace('"eth*"', '"eth*", wan1'))
        assert settled.geodrop("reload").returncode == 0
        settled.wait_for_health()
        assert not any(passed for _, passed in _outcomes(probes))
    settled.wait_for("the word", lambda: settled.word() == ("enforcing, but degraded", 1))
    assert settled.problem("no interface wan1"), settled.status()["problems"]
    settled.agent(AGENT)
    assert settled.geodrop("reload").returncode == 0


def test_an_interface_under_another_name_is_followed_or_told_of(settled: Edge) -> None:
    """Meant by an alternative name it is judged whatever its own name becomes. Without one nothing is enforced once it
    is renamed or in another network namespace, which is said with the next step, and it is judged when it is back.
    """
    _script(settled, "ip link property add dev eth0 altname uplink")
    settled.agent(AGENT.replace('"eth*"', "uplink"))
    with settled.watched(DENIED, ALLOWED + SWITCHED):
        assert settled.geodrop("reload").returncode == 0
        settled.wait_for_health()
    _script(settled, _renamed("eth0", "lan0"))
    settled.wait_for("the new name", lambda: settled.status()["interfaces"][0]["name"] == "lan0")
    settled.wait_for_health()
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    _script(settled, "ip link property del dev lan0 altname uplink" + _renamed("lan0", "eth0"))
    settled.agent(AGENT.replace('"eth*"', "eth0"))
    assert settled.geodrop("reload").returncode == 0
    settled.wait_for_health()
    for away, begun, back in (
        (_renamed("eth0", "lan0"), "ip link set lan0 down", _renamed("lan0", "eth0")),
        ("ip netns add away\nip link set eth0 netns away", "true", AWAY_AND_BACK),
    ):
        _script(settled, away)
        settled.wait_for("the word", lambda: settled.word() == ("not enforcing", 3))
        said = settled.problem("no interface eth0 is there")
        assert "correct `interfaces`" in said, settled.status()["problems"]
        _script(settled, begun)
        with settled.watched(DENIED, ()):
            _script(settled, back)
            settled.wait_for_health()
        settled.assert_now(DENIED, ALLOWED + SWITCHED)
    settled.agent(AGENT)
    assert settled.geodrop("reload").returncode == 0


def test_what_others_put_into_our_table_goes(settled: Edge) -> None:
    """A chain with a hook that accepts everything, a set, and a rule in a chain of ours: each is removed.

    The repair is reported, and the number of the generation does not run away.
    """
    before = settled.status()
    chains = settled.machine.run("nft", "list", "chains", "inet")
    own = next(line.split()[1] for line in chains.split("table inet geodrop")[1].splitlines() if "chain" in line)
    for what in (
        "add chain inet geodrop theirs { type filter hook input priority -400; policy accept; }",
        "add set inet geodrop their_set { type ipv4_addr; elements = { 192.0.2.1 }; }",
        f"insert rule inet geodrop {own} counter accept",
    ):
        settled.machine.run("nft", what)
        settled.wait_for("the repair", lambda: not _foreign(settled))
        settled.wait_for_health()
    since = settled.status()
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    after = settled.status()
    assert after["generation"] == since["generation"] <= before["generation"] + 1
    assert before["repaired"] < after["repaired"] <= before["repaired"] + 3
    assert after["repairs"][0]["culprit"].startswith("nft (process ")


def test_the_first_word_is_what_packets_meet(settled: Edge) -> None:
    """Enforcing, monitoring, paused and not enforcing: word, exit code, metrics and packets agree."""
    _agrees(settled, "enforcing", 0, expected=1)
    settled.policy(POLICY.replace("mode: enforce", "mode: monitor"))
    assert settled.geodrop("reload").returncode == 0
    _agrees(settled, "monitoring", 0, expected=0)
    settled.policy(POLICY)
    assert settled.geodrop("reload").returncode == 5, "a service that begins to drop is held"
    digest = json.loads(settled.geodrop("plan", "--json").stdout)["digest"]
    assert settled.geodrop("reload", "--accept", digest[:12]).returncode == 0
    assert settled.geodrop("pause", "--for", "1h", "--why", "a drill").returncode == 0
    _agrees(settled, "paused", 1, expected=1)
    assert settled.geodrop("resume").returncode == 0
    assert settled.geodrop("unload").returncode == 0
    _agrees(settled, "not enforcing", 3, expected=1)
    assert settled.geodrop("reload").returncode == 0
    _agrees(settled, "enforcing", 0, expected=1)


def test_what_was_observed_is_what_probes_see(settled: Edge) -> None:
    """`observed`: when, how many packets were judged, and the verdict now for a packet from each side of the policy."""
    first = settled.status()["observed"]
    settled.assert_now(DENIED, ALLOWED)
    second = settled.status()["observed"]
    assert second["packets_judged"] > first["packets_judged"] > 0
    assert second["time"] >= first["time"]
    verdicts = {(one["interface"], one["service"], one["verdict"]) for one in second["probes"]}
    assert verdicts == {("eth0", "api", "drop"), ("eth0", "api", "accept")}
    assert all(one["verdict"] == one["expected"] and one["address"] for one in second["probes"])


def _agrees(host: Edge, word: str, code: int, *, expected: int) -> None:
    enforcing = word == "enforcing"
    assert host.word() == (word, code), host.status()["problems"]
    assert host.status()["enforcing"] == enforcing
    metrics = host.metrics()
    found = [metrics[f"geodrop_{name}"] for name in ("enforcing", "enforcing_expected", "paused")]
    assert found == [float(enforcing), float(expected), float(word == "paused")], found
    host.assert_now(DENIED if enforcing else (), ALLOWED if enforcing else DENIED + ALLOWED)


def _script(host: Edge, commands: str) -> None:
    host.machine.run("sh", "-e", "-c", commands)


def _renamed(old: str, new: str) -> str:
    """Down and up again, as older kernels want it; what goes with that comes back."""
    return f"""
ip link set {old} down
ip link set {old} name {new}
ip link set {new} up
ip address replace 2001:2::1/64 dev {new} nodad
ip route replace default via 198.18.0.2 dev {new}
ip -6 route replace default via 2001:2::2 dev {new}
"""


def _foreign(host: Edge) -> bool:
    table = host.machine.run("nft", "-t", "list", "table", "inet", "geodrop")
    return "their" in table or "counter packets" in table


@contextlib.contextmanager
def _second_cable(host: Edge) -> Iterator[Probes]:
    """Add a cable to a bridge of the host, wan1, since a veth is not taken for an uplink; remove it afterwards."""
    assert host.namespace
    client, namespace = host.client, host.namespace
    there = ("peer", "name", "cable", "netns", namespace.name)
    run("ip", "link", "add", "cable", "netns", client.name, "type", "veth", *there)
    try:
        client.run("ip", "link", "set", "cable", "up")
        namespace.run("ip", "link", "add", "wan1", "type", "bridge")
        namespace.run("ip", "link", "set", "cable", "up", "master", "wan1")
        with Probes(End(client, "cable"), End(namespace, "wan1"), OTHERS, LOCAL) as probes:
            yield probes
    finally:
        run("ip", "-n", client.name, "link", "delete", "cable")
        namespace.run("ip", "link", "delete", "wan1")


def _outcomes(probes: Probes) -> list[tuple[int, int]]:
    """Return how many probes were sent from each source in a moment that begins now, and how many passed."""
    since = time.monotonic()
    time.sleep(SOME)
    found = [probes.outcome(source, since) for source in OTHERS]
    assert all(one.sent for one in found)
    return [(one.sent, one.passed) for one in found]
