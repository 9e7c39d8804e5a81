# SPDX-License-Identifier: Apache-2.0
"""`geodrop doctor` through the real command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.errors import user_name
from tests.support.users import as_user, open_to_others

if TYPE_CHECKING:
    from tests.kernel.cli.conftest import Host


def test_it_says_whether_geodrop_can_enforce_and_changes_nothing(host: Host) -> None:
    """0 if the engine of agent.yaml can work, 69 if not: here is a veth, and no bpffs."""
    host.netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    config = host.geodrop.folder / "agent.yaml"
    before = [host.netns.run("nft", "list", "ruleset"), sorted(host.geodrop.folder.rglob("*"))]
    base = config.read_text() + "interfaces: [eth0]\n"
    config.write_text(base)
    done = host.geodrop.good("doctor", "--json").json
    assert (done["schema"], done["engine"], done["can_enforce"]) == (1, "auto", True)
    assert {one["status"] for one in done["findings"]} <= {"ok", "missing", "note"}
    assert all(one["cost"] for one in done["findings"] if one["status"] == "missing")
    [interface] = [one for one in done["findings"] if one["name"] == "interface eth0"]
    assert "driver veth" in interface["found"]
    said = host.geodrop.good("doctor").out
    assert "geodrop can enforce here with engine auto" in said
    assert f"ok       user: {user_name()}, as which the daemon runs" in said
    # `ip netns` leaves a stub of /sys here: the view of a container without a bpffs.
    config.write_text(base + "engine: xdp\n")
    missing = host.geodrop.run("doctor")
    assert missing.code == 69
    assert "cannot enforce here with engine xdp" in missing.out
    assert "mount -t bpf bpf /sys/fs/bpf" in missing.out
    assert [host.netns.run("nft", "list", "ruleset"), sorted(host.geodrop.folder.rglob("*"))] == before


def test_without_any_privilege_it_still_answers(host: Host) -> None:
    """As user nobody: untested abilities are reported, and the exit code is 69 without a traceback."""
    folder = host.geodrop.folder
    open_to_others(folder)
    done = type(host.geodrop)(folder, host.netns, as_user()).run("doctor")
    assert done.code == 69, done.err
    assert "CAP_NET_ADMIN" in done.out
