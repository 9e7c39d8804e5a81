"""A new version, and the end of it all: what deploy/install.sh and deploy/uninstall.sh do to a host in service."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

import pytest

from geodrop import __version__
from tests.system.edge import ALLOWED, DENIED, SOURCES, SWITCHED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

NEXT = "99.0"
OFFLINE = ("env", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/root/wheels", "PIP_CONFIG_FILE=/dev/null")


def test_an_upgrade_has_no_gap(host: Edge) -> None:
    """The new version's daemon takes over what the old one's put in force, and only its files are left."""
    [wheel] = (host.machine.root / "root/wheels").glob("geodrop-*.whl")
    pid = host.show("geodrop.service", "MainPID")
    newer = renumbered(wheel, host.machine.root / "root")
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.run(*OFFLINE, "/root/geodrop/deploy/install.sh", f"/root/{newer.name}")
    assert NEXT in host.geodrop("--version").stdout
    assert host.show("geodrop.service", "MainPID") not in ("0", pid)
    found = host.status()
    assert found["healthy"], found["problems"]
    assert len(host.machine.run("sh", "-c", "ls -d /opt/geodrop-*").split()) == 1


def test_uninstalling_leaves_nothing(host: Edge) -> None:
    """Nothing of ours in the kernel, no process, no unit, no program; what is the operator's stays, and so do
    neighbours.
    """
    host.machine.run("nft", "add", "table", "inet", "neighbour")
    host.machine.run("/root/geodrop/deploy/uninstall.sh")
    host.assert_now((), SOURCES)
    assert host.machine.run("nft", "list", "tables").split() == ["table", "inet", "neighbour"]
    assert "geodrop" not in host.machine.run("ps", "-A", "-o", "args").replace("/root/geodrop", "")
    units = host.machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend")
    files = host.machine.run("systemctl", "list-unit-files", "--plain", "--no-legend")
    assert re.findall(r"\S*geodrop\S*", units + files) == []
    searched = ("/etc", "/opt", "/run", "/usr", "/var")
    left = host.machine.run("find", *searched, "-path", "/run/host", "-prune", "-o", "-name", "*geodrop*", "-print")
    assert left.split() == ["/etc/geodrop", "/var/lib/geodrop"]


def test_installed_again_it_goes_on(host: Edge) -> None:
    """With the configuration that stayed; what was unloaded stays that way until somebody reloads."""
    host.machine.run(*OFFLINE, "sh", "-c", "/root/geodrop/deploy/install.sh /root/wheels/geodrop-*.whl")
    host.machine.run("systemctl", "start", "geodrop")
    host.machine.run("geodrop", "reload")
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def renumbered(wheel: Path, folder: Path) -> Path:
    """The same wheel as another version."""
    made = folder / wheel.name.replace(__version__, NEXT)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith(("dist-info/METADATA", "geodrop/__init__.py", "dist-info/RECORD")):
                content = content.replace(__version__.encode(), NEXT.encode())
            new.writestr(item.filename.replace(f"-{__version__}.dist-info", f"-{NEXT}.dist-info"), content)
    return made
