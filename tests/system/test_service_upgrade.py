# SPDX-License-Identifier: Apache-2.0
"""An upgrade and a removal: what deploy/install.sh and deploy/uninstall.sh do to a host in service."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.system.edge import ALLOWED, DENIED, SOURCES, SWITCHED
from tests.system.packages import NEXT, RELEASE, packages, renumbered

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

OFFLINE = ("env", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/root/wheels", "PIP_CONFIG_FILE=/dev/null")


def test_an_upgrade_has_no_gap(host: Edge) -> None:
    """The new version's daemon takes over what the old one put in force, and only the new files are left."""
    [wheel] = (host.machine.root / "root/wheels").glob("geodrop-*.whl")
    pid = host.show("geodrop.service", "MainPID")
    newer = renumbered(wheel, host.machine.root / "root", NEXT)
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.run(*OFFLINE, "/root/geodrop/deploy/install.sh", f"/root/{newer.name}")
    assert NEXT in host.geodrop("--version").stdout
    assert host.show("geodrop.service", "MainPID") not in ("0", pid)
    found = host.status()
    assert found["healthy"], found["problems"]
    assert len(host.machine.run("sh", "-c", "ls -d /opt/geodrop-*").split()) == 1


def test_uninstalling_leaves_nothing(host: Edge) -> None:
    """Nothing of ours stays in the kernel, no process, no unit, no program.

    The operator's files stay, and so do the rules of other programs.
    """
    host.machine.run("nft", "add", "table", "inet", "neighbour")
    host.machine.run("/root/geodrop/deploy/uninstall.sh")
    host.assert_now((), SOURCES)
    assert host.machine.run("nft", "list", "tables").split() == ["table", "inet", "neighbour"]
    assert "geodrop" not in host.machine.run("ps", "-A", "-o", "args").replace("/root/geodrop", "")
    # systemd removes an unreferenced unit from memory some time later.
    host.wait_for("the end of the units", lambda: not _units(host))
    searched = ("/etc", "/opt", "/run", "/usr", "/var")
    left = host.machine.run("find", *searched, "-path", "/run/host", "-prune", "-o", "-name", "*geodrop*", "-print")
    assert left.split() == ["/etc/geodrop", "/var/lib/geodrop"]


def test_installed_again_it_goes_on(host: Edge) -> None:
    """It uses the configuration that stayed; what was unloaded stays unloaded until a reload."""
    host.machine.run(*OFFLINE, "sh", "-c", "/root/geodrop/deploy/install.sh /root/wheels/geodrop-*.whl")
    host.machine.run("systemctl", "start", "geodrop")
    host.machine.run("geodrop", "reload")
    host.assert_now(DENIED, ALLOWED + SWITCHED)


@pytest.mark.long
def test_the_package_takes_over(host: Edge, tmp_path: Path) -> None:
    """The package refuses to be a second installation. After --keep it takes over; the kernel enforces meanwhile."""
    package, _ = packages(RELEASE, tmp_path)
    shutil.copy(package, host.machine.root / "root")
    install = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "install", f"/root/{package.name}")
    with host.watched(DENIED, ALLOWED + SWITCHED):
        done = host.machine.try_run(*install)
        assert done.returncode
        assert "next: deploy/uninstall.sh --keep" in done.stdout + done.stderr
        host.machine.run("/root/geodrop/deploy/uninstall.sh", "--keep")
        host.machine.run(*install)
        host.machine.run("systemctl", "start", "geodrop")
        host.wait_for_health()
    assert host.machine.run("sh", "-c", "command -v geodrop").strip() == "/usr/sbin/geodrop"


def _units(host: Edge) -> list[str]:
    """Return our units, in memory and as files."""
    lists = [("list-units", "--all"), ("list-unit-files",)]
    found = "".join(host.machine.run("systemctl", *one, "--plain", "--no-legend") for one in lists)
    return re.findall(r"\S*geodrop\S*", found)
