# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
from pathlib import Path

from geodrop.state.places import namespace_cookie
from tests.kernel.cli.conftest import Host
from tests.support.synthetic import joined_ruleset
from tests.support.worlds import POLICY_CN

LOAD = ("load", "--interface", "lo")


def test_load_says_what_happened(host: Host) -> None:
    """Generations count up; the line names them, the ruleset, the interface and the time of each phase."""
    first = host.geodrop.good(*LOAD, host.cn).out
    assert first.startswith("generation 0 -> 1: ruleset ")
    assert " in force on lo (fill " in first
    assert host.geodrop.good(*LOAD, host.ru).out.startswith("generation 1 -> 2: ")


def test_same_again_is_nothing_to_do(host: Host) -> None:
    """A ruleset that is already in force is not loaded again, byte for byte, unless something about it is wrong."""
    host.geodrop.good(*LOAD, host.cn)
    before = host.netns.run("nft", "-a", "list", "ruleset")
    assert "nothing to do" in host.geodrop.good(*LOAD, host.cn).out
    assert host.netns.run("nft", "-a", "list", "ruleset") == before
    host.netns.run("nft", "flush", "chain", "inet", "geodrop", "g1-api")
    assert host.geodrop.good(*LOAD, host.cn).out.startswith("generation 1 -> 2: ")
    assert host.geodrop.good("status").out.startswith("enforcing  generation ")


def test_other_interfaces_are_another_load(host: Host) -> None:
    """The same ruleset on other interfaces is a change; a name without an interface is accepted, with a warning."""
    host.geodrop.good(*LOAD, host.cn)
    done = host.geodrop.good(*LOAD, "--interface", "eth7", host.cn)
    assert "no interface eth7 is there: mistyped, renamed" in done.err
    names = [one["name"] for one in host.geodrop.good("status", "--json").json["interfaces"]]
    assert names == ["eth7", "lo"]


def test_no_interface(host: Host) -> None:
    """Without a default route and a named interface there is nothing to judge: 78, and nothing is loaded."""
    done = host.geodrop.run("load", host.cn)
    assert done.code == 78
    assert "--interface" in done.err
    assert host.netns.run("nft", "list", "ruleset") == ""


def test_generations_survive_unload(host: Host) -> None:
    """A number is never used twice, not even after the kernel forgot it."""
    host.geodrop.good(*LOAD, host.cn)
    host.geodrop.good("unload")
    assert host.geodrop.good(*LOAD, host.ru).out.startswith("generation 0 -> 2: ")


def test_another_load_is_running(host: Host) -> None:
    """While another process holds the lock nothing is changed: 75."""
    host.geodrop.good(*LOAD, host.cn)
    lock = Path(f"/run/geodrop/netns/{_cookie(host)}/lock")
    descriptor = os.open(lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    done = host.geodrop.run(*LOAD, host.ru)
    os.close(descriptor)
    assert done.code == 75
    assert host.geodrop.good("status", "--json").json["generation"] == 1


def test_engine_that_cannot_take_it(host: Host) -> None:
    """An engine asked for by name is never replaced silently; auto takes what works."""
    done = host.geodrop.run(*LOAD, "--engine", "xdp", host.cn)
    assert done.code == 69
    assert "is no bpffs" in done.err
    host.geodrop.good(*LOAD, "--engine", "auto", host.cn)
    assert host.geodrop.good("status", "--json").json["interfaces"][0]["engine"] == "nftables"


def test_reject_is_left_to_nftables(host: Host) -> None:
    """An engine that cannot reject is refused with 78, and nothing is loaded; `auto` takes nftables."""
    database = host.geodrop.folder / "country.mmdb"
    ruleset = str(host.geodrop.compile(POLICY_CN + "    action: reject\n", database, name="reject"))
    done = host.geodrop.run(*LOAD, "--engine", "xdp", ruleset)
    assert done.code == 78
    assert "action: reject" in done.err
    assert host.geodrop.run("status").code == 3
    host.geodrop.good(*LOAD, ruleset)
    assert [one["engine"] for one in host.geodrop.good("status", "--json").json["interfaces"]] == ["nftables"]
    assert host.geodrop.good("verify", "--full").code == 0


def _cookie(host: Host) -> int:
    with host.netns.entered():
        return namespace_cookie()


def test_regions_are_told_apart_in_the_same_command(host: Host) -> None:
    """Where maps join what is dropped, `load` goes on to count by region, and `status` says what remains."""
    only_us = POLICY_CN.replace("default: allow", "default: deny").replace("deny: [CN]", "allow: [US]")
    file = host.geodrop.folder / "joined.ruleset"
    file.write_bytes(joined_ruleset(only_us, host.geodrop.folder / "country.mmdb"))
    host.geodrop.good(*LOAD, str(file))
    assert "map g1-api.regions.ipv4" in host.netns.run("nft", "-t", "list", "ruleset")
    [service] = host.geodrop.good("status", "--json").json["services"]
    assert service["counted_as_other"] == 0
    assert host.geodrop.good("verify", "--full", "--json").json["differences"] == []
    counted = {one.get("region") for one in host.geodrop.good("counters", "--json").json_lines}
    assert counted == {None, "CN", "RU", "other"}
    host.netns.nft(
        "flush chain inet geodrop g1-api.other.ipv4\n"
        "add rule inet geodrop g1-api.other.ipv4 counter name api.other.ipv4.dropped drop\n"
        "flush chain inet geodrop g1-api.other.ipv6\n"
        "add rule inet geodrop g1-api.other.ipv6 counter name api.other.ipv6.dropped drop\n"
    )
    assert "2 regions count as `other` on nftables; xdp counts all" in host.geodrop.run("status").out
    for verb in ("pause", "resume"):
        host.geodrop.good(verb)
        assert host.geodrop.run("status", "--json").json["services"][0]["counted_as_other"] == 0
