# SPDX-License-Identifier: Apache-2.0
"""The first word of `status`, and its exit code, from the kernel's state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.worlds import POLICY_CN

if TYPE_CHECKING:
    from tests.kernel.cli.conftest import Host

LATER = POLICY_CN + "    starts: 2099-01-01T00:00:00Z\n"
MONITOR = POLICY_CN + "    mode: monitor\n"


def load(host: Host, policy: str = POLICY_CN, interface: str = "lo") -> None:
    """Put a policy in force on nftables."""
    made = host.geodrop.compile(policy, host.geodrop.folder / "country.mmdb", name="policy")
    host.geodrop.good("load", "--engine", "nftables", "--interface", interface, str(made))


def said(host: Host) -> tuple[str, int, Any]:
    """Return the word, the exit code, and the object; the text begins with the same word."""
    done = host.geodrop.run("status", "--json")
    assert host.geodrop.run("status").out.startswith(done.json["state"])
    return done.json["state"], done.code, done.json


def test_enforcing(host: Host) -> None:
    """Each family has a verdict for a denied and an accepted source, and no packet is sent or counted for it."""
    load(host)
    word, code, status = said(host)
    assert (word, code, status["enforcing"], status["enforcing_expected"]) == ("enforcing", 0, True, True)
    probes = [(one["interface"], one["verdict"], one["expected"]) for one in status["observed"]["probes"]]
    assert sorted(probes) == sorted([("lo", verdict, verdict) for verdict in ("drop", "accept")] * 2)
    counts = host.geodrop.good("counters", "--json").json_lines
    assert status["observed"]["packets_judged"] == 0
    assert not any(part["packets"] for one in counts for part in one.values() if isinstance(part, dict))


@pytest.mark.parametrize("policy", [MONITOR, LATER], ids=["monitor", "a start to come"])
def test_monitoring(host: Host, policy: str) -> None:
    """Nothing is dropped, as the policy asks: healthy, and no alarm; with a problem it is not healthy."""
    load(host, policy)
    word, code, status = said(host)
    assert (word, code, status["enforcing"], status["enforcing_expected"]) == ("monitoring", 0, False, False)
    host.netns.nft("insert rule inet geodrop g1 accept\n")
    assert said(host)[:2] == ("monitoring", 1)


@pytest.mark.parametrize("address", ["127.0.0.1", '"::1"'])
def test_a_service_of_one_family(host: Host, address: str) -> None:
    """No packet of the other family is for it, so it needs no verdicts of that: no difference, in all boundaries."""
    load(host, POLICY_CN.replace("ports:", f"addresses: [{address}], ports:"))
    assert said(host)[:2] == ("enforcing", 0)
    host.geodrop.good("verify", "--full")


def test_source_routes(host: Host) -> None:
    """Where the kernel follows them, a packet can reach another address than the one that its service is found by."""
    load(host, POLICY_CN.replace("ports:", "addresses: [127.0.0.1], ports:"))
    assert said(host)[:2] == ("enforcing", 0)
    with host.netns.entered():
        for name in ("all", "lo"):
            Path(f"/proc/sys/net/ipv4/conf/{name}/accept_source_route").write_text("1", encoding="ascii")
    word, code, status = said(host)
    assert (word, code) == ("enforcing, but degraded", 1)
    [problem] = [one for one in status["problems"] if "source route" in one]
    assert problem.startswith("lo: ")
    load(host)
    assert not [one for one in said(host)[2]["problems"] if "source route" in one]


def test_paused(host: Host) -> None:
    """A paused host does not enforce and is healthy, whatever else is true."""
    load(host)
    host.geodrop.good("pause")
    word, code, status = said(host)
    assert (word, code, status["enforcing"], status["enforcing_expected"]) == ("paused", 1, False, True)
    assert status["healthy"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("delete table inet geodrop", "is gone from the kernel"),
        ("flush chain inet geodrop prerouting", "is gone from the kernel"),
        ("insert rule inet geodrop prerouting accept", "a denied source passes"),
        ("insert rule inet geodrop g1 accept", "a denied source passes"),
        ("flush chain inet geodrop g1", "a denied source passes"),
    ],
)
def test_not_enforcing(host: Host, change: str, why: str) -> None:
    """Without the table, the hook, a rule on the way or the generation's chain, packets pass, and status says so."""
    load(host)
    host.netns.nft(change + "\n")
    word, code, status = said(host)
    assert (word, code, status["enforcing"], status["enforcing_expected"]) == ("not enforcing", 3, False, True)
    assert not status["healthy"]
    assert why in host.geodrop.run("status").out.splitlines()[0]


@pytest.mark.parametrize("interface", ["eth7", "wan*"])
def test_where_no_interface_is(host: Host, interface: str) -> None:
    """A name or pattern without an interface judges nothing; once the interface comes it does."""
    load(host, interface=interface)
    word, code, status = said(host)
    assert (word, code, status["interfaces"][0]["links"]) == ("not enforcing", 3, [])
    name = interface.replace("*", "0")
    host.netns.run("ip", "link", "add", name, "type", "veth", "peer", "name", "far0")
    word, code, status = said(host)
    assert (word, code, status["interfaces"][0]["links"]) == ("enforcing", 0, [name])


def test_unloaded(host: Host) -> None:
    """An unload is deliberate, and still not what the policy asks for."""
    load(host)
    host.geodrop.good("unload")
    word, code, status = said(host)
    assert (word, code, status["enforcing_expected"], status["problems"]) == ("not enforcing", 3, True, [])
    load(host, MONITOR)
    host.geodrop.good("unload")
    assert said(host)[2]["enforcing_expected"] is False


def test_a_ruleset_in_force_that_is_not_kept(host: Host) -> None:
    """It drops, but without the ruleset nothing can tell whether that is right."""
    load(host)
    for path in (host.geodrop.folder / "state" / "rulesets").iterdir():
        path.write_bytes(b"damaged")
    word, code, status = said(host)
    assert (word, code) == ("enforcing, but degraded", 1)
    assert any("cannot be compared with the ruleset in force" in problem for problem in status["problems"])
