# SPDX-License-Identifier: Apache-2.0
"""The short form of the fleet: README.md's lines on two bare hosts, one on nftables and one on xdp."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from geodrop import __version__
from tests.fleet.hosts import Fleet, changed, fleet
from tests.fleet.policies import JAPAN_DENIED, LETHAL, POLICY
from tests.system.checkout import commands
from tests.system.edge import ALLOWED, DENIED, SOURCES, SWITCHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.slow]

FIRST, SECOND = "edge-11", "edge-12"
INVENTORY = """
[edge]
edge-11 ansible_host=198.18.0.11 geodrop_engine=nftables
edge-12 ansible_host=198.18.0.12 geodrop_engine=xdp
[edge:vars]
ansible_user=root
ansible_ssh_private_key_file={folder}/key
ansible_ssh_common_args=-o UserKnownHostsFile={folder}/known_hosts
geodrop_interfaces=["eth*"]
geodrop_soak=2
"""


@pytest.fixture(scope="module")
def two(bare: dict[str, Path], packages: Path, machines: Path) -> Iterator[Fleet]:
    """Yield two bare hosts, and a controller with what README.md's lines ask for."""
    with fleet([bare["bookworm"], bare["trixie"]], machines, INVENTORY) as made:
        (made.folder / "build").mkdir()
        (made.folder / "build/packages").symlink_to(packages)
        made.write("policy.yaml", POLICY)
        yield made


def test_from_nothing_to_enforced(two: Fleet) -> None:
    """README.md's lines say what would happen, and make it so; a second run changes nothing."""
    lines = commands("geodrop.edge.rollout")
    assert [line.split()[0] for line in lines[:2]] == ["pip", "ansible-galaxy"]
    make, *rest = lines[2:]
    assert make == "make packages"
    check, run = (next(line for line in rest if line.endswith(end)) for end in ("--check --diff", "-e @fleet.yml"))
    said = two.shell(lines[1], *rest[: rest.index(check)], check)
    assert said.count(f"geodrop is not installed: would install {__version__}-1~deb") == 2, said
    assert all(changed(said).values())
    for host in two.hosts:
        assert host.geodrop("status").returncode == 127
        host.assert_now((), SOURCES)
    two.shell(run)
    for host in two.hosts:
        host.assert_now(DENIED, ALLOWED + SWITCHED)
        assert host.word() == ("enforcing", 0)
        assert host.status()["confirm"] is None
        assert not host.machine.run("find", "/etc/geodrop", "-name", "*.staged")
    assert [host.status()["interfaces"][0]["engine"] for host in two.hosts] == ["nftables", "xdp"]
    with two.unnoticed(FIRST, SECOND):
        generations = [host.status()["generation"] for host in two.hosts]
        assert changed(two.shell(run)) == {FIRST: 0, SECOND: 0}
        assert [host.status()["generation"] for host in two.hosts] == generations


def test_a_change_is_shown_before_it_is_made(two: Fleet) -> None:
    """--check --diff has the plan of each host, and leaves nothing there."""
    two.write("policy.yaml", JAPAN_DENIED)
    with two.unnoticed(FIRST, SECOND):
        done = two.rollout("--check", "--diff")
        assert done.returncode == 0
        assert (
            len(re.findall(r"api drop JP [\d.]+ M IPv4; [\d.]+% \(limit 20%\); .*digest [0-9a-f]{12}", done.stdout))
            == 2
        )
        assert changed(done.stdout) == {FIRST: 1, SECOND: 1}
        for host in two.hosts:
            assert not host.machine.run("find", "/etc/geodrop", "-name", "*.staged")


def test_a_lethal_policy_is_undone(two: Fleet) -> None:
    """Held by a limit, but accepted, it cuts a host off, which comes back by itself; the next one never noticed."""
    two.write("policy.yaml", LETHAL)
    compiled = two.shell("geodrop compile --policy policy.yaml --database COUNTRY.mmdb -o lethal.ruleset")
    [digest] = re.findall(r"lethal\.ruleset: ruleset ([0-9a-f]{12})", compiled)
    first = two[FIRST]
    before = first.status()["generation"]
    window = ("-e", "geodrop_confirm_timeout=22", "-e", '{"geodrop_probes": [{"port": 22, "timeout": 3}]}')
    with two.unnoticed(SECOND):
        done = two.rollout("-e", f"geodrop_accept={digest}", *window)
        assert done.returncode == 2
        assert "On trial, undone by the hosts themselves at 20" in done.stdout
        assert f"ansible-playbook geodrop.edge.rollout --limit {FIRST}" in done.stdout
        # On a busy machine the host may be back before it is probed, and says so.
        assert re.search(rf"{FIRST}: gate: (?:Timeout when waiting for 198\.18\.0\.11:22|status: )", done.stdout)
        first.wait_for("the undo", lambda: first.status()["undone"] and first.status()["generation"] == before)
        assert first.word() == ("enforcing, but degraded", 1)
        first.assert_now(DENIED, ALLOWED + SWITCHED)


def test_the_fleet_is_well_again(two: Fleet) -> None:
    """The good policy once more ends the alarm, in a batch with a host that needs nothing."""
    two.write("policy.yaml", POLICY)
    with two.unnoticed(FIRST, SECOND):
        done = two.rollout("-e", '{"geodrop_serial": [2]}')
        assert done.returncode == 0
        counts = changed(done.stdout)
        assert (counts[FIRST] > 0, counts[SECOND]) == (True, 0)
    for host in two.hosts:
        assert host.word() == ("enforcing", 0), host.status()["problems"]
        host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_status_of_each_host(two: Fleet) -> None:
    """The playbook writes a file for each host, for one that does not answer too, and `geodrop fleet` shows them."""
    two.bridge.run("ip", "link", "set", two[SECOND].port, "down")
    done = two.ansible("geodrop.edge.status", "-e", "geodrop_folder=status")
    assert done.returncode == 0
    found = {path.name: json.loads(path.read_text()) for path in (two.folder / "status").iterdir()}
    assert found.keys() == {f"{FIRST}.json", f"{SECOND}.json"}
    assert found[f"{FIRST}.json"]["state"] == "enforcing"
    assert found[f"{SECOND}.json"]["unreachable"] is True
    assert found[f"{SECOND}.json"]["message"]
    table = two.shell("geodrop fleet status || [ $? = 1 ]")
    assert re.search(rf"^{SECOND} .*unreachable", table, re.MULTILINE), table
