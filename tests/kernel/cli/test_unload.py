# SPDX-License-Identifier: Apache-2.0
from tests.kernel.cli.conftest import Host

FOREIGN = "table inet mine { set s { type ipv4_addr; elements = { 192.0.2.1 } } chain c { counter; } }"


def test_unload_leaves_nothing_but_what_was_there(host: Host) -> None:
    """Load and unload leave other tables byte for byte as they were, handles included; the unload is recorded."""
    host.netns.nft(FOREIGN.replace("} chain", "}; chain").replace(" } }", " }; }"))
    before = host.netns.run("nft", "-a", "list", "ruleset")
    host.geodrop.good("load", "--interface", "lo", host.cn)
    host.geodrop.good("load", "--interface", "lo", host.ru)
    assert "unloaded" in host.geodrop.good("unload").out
    assert host.netns.run("nft", "-a", "list", "ruleset") == before
    status = host.geodrop.run("status", "--json")
    assert status.code == 3
    assert status.json["unloaded"] is True


def test_nothing_to_unload(host: Host) -> None:
    """Nothing to unload is no failure."""
    assert "nothing to do" in host.geodrop.good("unload").out
