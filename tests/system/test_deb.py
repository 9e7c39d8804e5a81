# SPDX-License-Identifier: Apache-2.0
"""The Debian package on a host without a network, from its installation to its purge. Clients send all the while."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from geodrop import __version__
from tests.system import edge
from tests.system.checkout import commands
from tests.system.edge import ALLOWED, DENIED, POLICY, SOURCES, SWITCHED, require_machines, unconfigured
from tests.system.machine import base, copy
from tests.system.packages import NEXT, PREVIOUS, RELEASE, before, packages

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

AGENT = edge.AGENT.replace("country.mmdb", "COUNTRY.mmdb")


@pytest.fixture(scope="module")
def bare(machines: Path, times: dict[str, float]) -> Iterator[Edge]:
    """Yield a host with the packages in /root and none of them installed, running."""
    require_machines()
    root = copy(base(RELEASE), machines / f"deb-{RELEASE}").root
    built = machines / "packages"
    built.mkdir()
    for package in packages(RELEASE, built):
        shutil.copy(package, root / "root")
    with unconfigured(root, machines, "COUNTRY.mmdb", times) as host:
        host.power_on()
        yield host


def apt(host: Edge, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run apt-get with yes to all questions."""
    return host.machine.try_run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", *arguments)


def install(host: Edge, version: str) -> str:
    """Install a version, which must succeed; return what was said."""
    done = apt(host, "install", "--allow-downgrades", deb(version))
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def deb(version: str) -> str:
    """Return the path of a package on the host; apt takes no wildcards."""
    release = {"bookworm": "deb12", "trixie": "deb13"}[RELEASE]
    return f"/root/geodrop_{version}-1~{release}_amd64.deb"


def test_installed_and_enforced(bare: Edge) -> None:
    """It waits for agent.yaml; once there is one, the daemon enforces. The host's own packages serve it, no other."""
    make, typed, *others, start = commands("umask 022")
    assert (make.split("  #")[0].strip(), start) == ("make packages", "systemctl start geodrop")
    before = bare.machine.run("cat", "/var/lib/dpkg/status").count("Package: ")
    own = deb(__version__).partition("~")
    typed = typed.replace("install", "install -q -y").replace("./geodrop_*~deb12", f"{own[0]}~{own[2].split('_')[0]}")
    bare.machine.run("sh", "-ec", typed)
    assert bare.machine.run("cat", "/var/lib/dpkg/status").count("Package: ") == before + 1
    assert bare.show("geodrop.service", "ActiveState") == "inactive"
    assert {bare.show(unit, "UnitFileState") for unit in ("geodrop.service", "geodrop-boot.service")} == {"enabled"}
    assert bare.machine.run("stat", "-c", "%a %U:%G", "/etc/geodrop").split() == ["750", "root:geodrop"]
    # The machine's cable is a veth, which is judged only if named.
    others.insert(-1, """echo 'interfaces: ["eth*"]' >> /etc/geodrop/agent.yaml""")
    bare.machine.run("sh", "-ec", "\n".join((*others, start)))
    bare.wait_for_health()
    bare.assert_now(DENIED, ALLOWED + SWITCHED)


@pytest.mark.long
def test_nothing_is_written_below_usr(bare: Edge) -> None:
    """Commands and the daemon do all of their work on a read-only /usr, and every file is as the package brought it."""
    bare.machine.run("mount", "--bind", "/usr", "/usr")
    bare.machine.run("mount", "-o", "remount,bind,ro", "/usr")
    bare.machine.run("systemctl", "restart", "geodrop")
    for command in ("status", "verify", "reload", "counters", "history", "check"):
        done = bare.geodrop(command)
        assert not done.returncode, done.stderr
    bare.machine.run("umount", "--lazy", "/usr")
    bare.machine.run("systemctl", "restart", "geodrop")
    loaded = "import pkgutil, geodrop\nfor one in pkgutil.walk_packages(geodrop.__path__, 'geodrop.'):\n"
    loaded += "    if '__main__' not in one.name: __import__(one.name)"
    before = bare.machine.run("find", "/usr/lib/geodrop")
    bare.machine.run("/usr/lib/geodrop/bin/python", "-I", "-c", loaded)
    assert bare.machine.run("find", "/usr/lib/geodrop") == before
    assert bare.machine.run("dpkg", "--verify", "geodrop") == ""


def test_upgraded_and_back(bare: Edge) -> None:
    """Another version and the one before take over from each other's daemon, and every packet is judged right."""
    for version in (NEXT, __version__):
        pid = bare.show("geodrop.service", "MainPID")
        with bare.watched(DENIED, ALLOWED + SWITCHED):
            said = install(bare, version)
            bare.wait_for_health()
        assert "geodrop:" not in said
        assert version in bare.geodrop("--version").stdout
        assert bare.show("geodrop.service", "MainPID") not in ("0", pid)


@pytest.mark.long
def test_from_the_commit_before_and_back(bare: Edge, tmp_path: Path) -> None:
    """What the commit before has written and put in force is taken over, and the other way round."""
    shutil.copy(before(RELEASE, tmp_path), bare.machine.root / "root")
    with bare.watched(DENIED, ALLOWED + SWITCHED):
        for version in (PREVIOUS, __version__):
            install(bare, version)
            assert version in bare.geodrop("--version").stdout
            bare.wait_for_health()
            bare.machine.run("geodrop", "reload")


@pytest.mark.long
def test_a_daemon_that_is_stopped_stays_so(bare: Edge) -> None:
    """So does a unit that is disabled; the host goes on enforcing."""
    bare.machine.run("systemctl", "disable", "--now", "--quiet", "geodrop.service")
    with bare.watched(DENIED, ALLOWED + SWITCHED):
        said = install(bare, NEXT)
    assert "geodrop status ends with 1" in said
    assert bare.show("geodrop.service", "ActiveState") == "inactive"
    assert bare.show("geodrop.service", "UnitFileState") == "disabled"
    bare.machine.run("systemctl", "enable", "--now", "--quiet", "geodrop.service")
    bare.wait_for_health()


@pytest.mark.long
def test_what_it_cannot_take_is_said(bare: Edge) -> None:
    """An agent.yaml that this version refuses fails the upgrade, before the daemon that runs would be lost."""
    pid = bare.show("geodrop.service", "MainPID")
    bare.agent(AGENT + "nonsense: true\n")
    with bare.watched(DENIED, ALLOWED + SWITCHED):
        done = apt(bare, "install", "--allow-downgrades", deb(__version__))
    assert done.returncode
    assert "does not take /etc/geodrop/agent.yaml" in done.stdout + done.stderr
    assert bare.show("geodrop.service", "MainPID") == pid
    bare.agent(AGENT)
    bare.machine.run("dpkg", "--configure", "-a")
    bare.wait_for_health()
    assert bare.show("geodrop.service", "MainPID") != pid


@pytest.mark.long
def test_a_state_that_cannot_be_read_is_said(bare: Edge) -> None:
    """The upgrade says so now, and not the next boot."""
    intent = "/var/lib/geodrop/intent.json"
    good = bare.machine.run("cat", intent)
    bare.machine.run("systemctl", "stop", "geodrop")
    (bare.machine.root / intent.lstrip("/")).write_text("{")
    with bare.watched(DENIED, ALLOWED + SWITCHED):
        done = apt(bare, "install", deb(NEXT))
    assert "intent.json" in done.stdout + done.stderr
    (bare.machine.root / intent.lstrip("/")).write_text(good)
    bare.machine.run("dpkg", "--configure", "-a")
    bare.machine.run("systemctl", "start", "geodrop")
    bare.wait_for_health()


@pytest.mark.long
def test_with_xdp(bare: Edge) -> None:
    """The link gives the daemon xdp's rights."""
    bare.machine.run("sh", "-ec", "\n".join(commands("ln -s")))
    with bare.watched(DENIED, ALLOWED + SWITCHED):
        bare.machine.run("systemctl", "restart", "geodrop")
        bare.wait_for("xdp", lambda: "xdp" in {one["engine"] for one in bare.status()["interfaces"]})
        install(bare, __version__)
        bare.wait_for_health()
    assert "prog/xdp" in bare.machine.run("ip", "link", "show", "eth0")


def test_removed_it_goes_on_enforcing(bare: Edge) -> None:
    """No process, command or unit is left, and packets are judged as before; that is said."""
    with bare.watched(DENIED, ALLOWED + SWITCHED):
        done = apt(bare, "remove", "geodrop")
    assert not done.returncode, done.stderr
    assert "stays in force until the next boot" in done.stdout + done.stderr
    assert "geodrop" not in bare.machine.run("ps", "-A", "-o", "args")
    assert bare.machine.try_run("test", "-e", "/usr/lib/geodrop").returncode
    bare.assert_now(DENIED, ALLOWED + SWITCHED)


@pytest.mark.parametrize("tool", ["python3", pytest.param("nft", marks=pytest.mark.long)])
def test_purged_nothing_is_left(bare: Edge, tool: str) -> None:
    """Nothing of ours is in the kernel or in files; the operator's other tables are. Without nft Python does it."""
    bare.machine.run("nft", "add", "table", "inet", "neighbour")
    install(bare, __version__)
    if not (bare.machine.root / "etc/geodrop/agent.yaml").exists():
        bare.policy(POLICY)
        bare.agent(AGENT)
    bare.machine.run("systemctl", "start", "geodrop")
    bare.wait_for_health()
    hidden = ("/usr/sbin/nft", "/root/nft") if tool == "python3" else ("/root/geodrop-no-nft", "/root/none")
    bare.machine.try_run("mv", *hidden)
    done = apt(bare, "purge", "geodrop")
    bare.machine.try_run("mv", *reversed(hidden))
    assert not done.returncode, done.stderr
    bare.assert_now((), SOURCES)
    assert bare.machine.run("nft", "list", "tables").split() == ["table", "inet", "neighbour"]
    assert "prog/xdp" not in bare.machine.run("ip", "link", "show", "eth0")
    searched = ("/etc", "/run", "/usr", "/var")
    left = bare.machine.run("find", *searched, "-path", "/run/host", "-prune", "-o", "-name", "*geodrop*", "-print")
    assert not left.split()
