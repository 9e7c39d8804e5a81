# SPDX-License-Identifier: Apache-2.0
"""The first hour of a new user: the commands of README.md, on a machine with only the packages of Debian."""

from __future__ import annotations

import os
import shutil
import stat
import time
from typing import TYPE_CHECKING

import pytest

from geodrop import __version__
from tests.support.namespaces import run
from tests.system.checkout import checkout, commands
from tests.system.edge import ALLOWED, DENIED, SWITCHED, require_machines, unconfigured
from tests.system.machine import REPOSITORY, base, copy, image, locked

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

RELEASE = os.environ.get("GEODROP_TEST_RELEASE", "bookworm")
PACKAGES = ("systemd", "systemd-sysv", "dbus", "iproute2", "make", "python3", "python3-venv", "libbpf1")
"""What a host must have. The machine has no mirror for anything else: asking apt for more fails."""

TREE = "root/geodrop"
UNITS = "/usr/local/lib/systemd/system"
NEXT = "99.0"
WAYS = [("no index", "077")]
if os.environ.get("GEODROP_TEST_LONG"):
    WAYS += [("an index", "022"), ("an index", "077"), ("no index", "022")]

INDEX = """
cd /root && mkdir -p index && for file in geodrop/wheels/*.whl; do
    name="$(basename "$file" | cut -d- -f1 | tr A-Z_. a-z--)"
    mkdir -p "index/$name" && ln "$file" "index/$name/"
done
printf '[global]\\nindex-url = http://127.0.0.1:8000/\\n' > /etc/pip.conf
setsid --fork python3 -m http.server --bind 127.0.0.1 --directory /root/index 8000 > /dev/null 2>&1
python3 - << 'END'
import time, urllib.request
for _ in range(300):
    try:
        urllib.request.urlopen("http://127.0.0.1:8000/")
        break
    except OSError:
        time.sleep(0.1)
END
"""
"""A package index on the machine's own loopback (PEP 503: a folder a package), and pip configured to use it."""


@pytest.fixture(scope="module")
def root(machines: Path) -> Path:
    """Return a root with the checkout, and the packages of a folder that was filled elsewhere."""
    require_machines()
    made = copy(base(RELEASE, PACKAGES), machines / f"bare-{RELEASE}")
    # There is no name server, so pip gives up in seconds.
    made.write("/etc/resolv.conf", "")
    checkout(made.root / TREE)
    shutil.copytree(locked(RELEASE, "run", "build"), made.root / TREE / "wheels")
    return made.root


@pytest.fixture(scope="module", params=WAYS, ids=[f"{index}, umask {umask}" for index, umask in WAYS])
def stranger(
    request: pytest.FixtureRequest, root: Path, machines: Path, times: dict[str, float]
) -> Iterator[tuple[Edge, Shell]]:
    """Yield the machine, running, and a shell on it."""
    index, umask = request.param
    with unconfigured(root, machines, "COUNTRY.mmdb", times) as host:
        host.power_on()
        if index == "an index":
            host.machine.run("sh", "-ec", INDEX)
        yield host, Shell(host, umask, has_index=index == "an index")


class Shell:
    """A shell in the checkout, with a umask."""

    def __init__(self, host: Edge, umask: str, *, has_index: bool) -> None:
        self.host, self.umask, self.has_index = host, umask, has_index
        [self.offline] = [line for line in commands("PIP_NO_INDEX") if "make install" in line]

    def fails(self, line: str) -> str:
        """Run a command that must fail; return its output."""
        done = self._typed(line)
        assert done.returncode, f"{line}\n{done.stdout}"
        return done.stderr

    def type(self, *lines: str) -> str:
        """Run commands that must succeed, in one shell; return their output."""
        done = self._typed("\n".join(lines))
        assert not done.returncode, f"{lines}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def install(self, more: str = "") -> str:
        """Return the `make install` command of README.md for this host."""
        return f"{'make install' if self.has_index else self.offline} {more}"

    def _typed(self, text: str) -> subprocess.CompletedProcess[str]:
        began = time.monotonic()
        done = self.host.machine.try_run("sh", "-ec", f"cd /{TREE}\numask {self.umask}\n{text}")
        print(f"{time.monotonic() - began:.1f} s: {text}")
        return done


def test_the_first_hour(stranger: tuple[Edge, Shell]) -> None:
    """After the installation, denied clients are dropped and customers let in; no unneeded package was installed."""
    host, shell = stranger
    packages = host.machine.run("cat", "/var/lib/dpkg/status")
    if not shell.has_index:
        said = shell.fails("make install")
        assert "Without a package index: README.md" in said
        said = shell.fails(
            shell.offline.replace("make install", "deploy/install.sh README.md").replace("wheels", "docs")
        )
        assert "pip download --require-hashes" in said
        assert "PIP_NO_INDEX=1 PIP_FIND_LINKS=$PWD/wheels deploy/install.sh README.md" in said
    said = shell.fails(shell.install("XDP=1"))
    assert "takes clang and libbpf-dev" in said
    assert "make wheel" in said
    assert host.machine.run("sh", "-c", "ls -d /opt/* /usr/local/sbin/* || true") == ""
    assert commands("builds the wheel, installs") == ["make install"]
    _, _, *others, start = commands("umask 022")
    assert start == "systemctl start geodrop"
    others = [line.replace("/usr/share/geodrop/", "deploy/") for line in others]
    assert __version__ in shell.type(shell.install())
    # The machine's cable is a veth, which is judged only if named.
    shell.type(*others, """echo 'interfaces: ["eth*"]' >> /etc/geodrop/agent.yaml""", start)
    host.assert_now(DENIED, ALLOWED + SWITCHED)
    host.wait_for_health()
    assert host.machine.run("cat", "/var/lib/dpkg/status") == packages
    brought = host.machine.run("sh", "-c", "ls /opt/geodrop/lib/*/site-packages")
    assert "numpy" in brought
    assert not [tool for tool in ("ruff", "mypy", "pytest", "hypothesis") if f"{tool}-" in brought]
    assert not _has_drop_in(host)
    assert "GEODROP" in host.machine.run("cat", "/usr/local/share/man/man8/geodrop.8")


def test_a_bad_policy_is_refused(stranger: tuple[Edge, Shell]) -> None:
    """Check, reload and an upgrade refuse it, so an upgrade never loses its daemon; everything is as before."""
    host, shell = stranger
    good = host.machine.run("cat", "/etc/geodrop/policy.yaml")
    with host.watched(DENIED, ALLOWED + SWITCHED):
        host.machine.write("/etc/geodrop/policy.yaml", good + "nonsense: true\n")
        assert shell.fails("geodrop check")
        assert host.systemctl("reload", "geodrop").returncode
        assert "does not take the policy of this host" in shell.fails(shell.install())
        host.machine.write("/etc/geodrop/policy.yaml", good)
        host.machine.write("/etc/geodrop/agent.yaml", host.machine.run("cat", "/etc/geodrop/agent.yaml"), 0o600)
        assert "does not take /etc/geodrop/agent.yaml" in shell.fails(shell.install())
        (host.machine.root / "etc/geodrop/agent.yaml").chmod(0o644)
        shell.type("geodrop check", "systemctl reload geodrop")
    host.wait_for_health()


def test_a_flush_is_repaired(stranger: tuple[Edge, Shell]) -> None:
    """An operator flushes all rules of the host, with another program."""
    host, _ = stranger
    assert host.namespace
    generation = host.status()["generation"]
    host.namespace.run("nft", "flush", "ruleset")
    host.wait_for("the repair", lambda: host.status()["generation"] != generation)
    host.wait_for_health()
    host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_upgraded_and_back(stranger: tuple[Edge, Shell]) -> None:
    """Another version and the one before, each by `make install`; an installation that lost a file is replaced."""
    host, shell = stranger
    source = "agent/geodrop/__init__.py"
    with host.watched(DENIED, ALLOWED + SWITCHED):
        for old, new in ((__version__, NEXT), (NEXT, __version__)):
            assert new in shell.type(f"sed -i 's/{old}/{new}/' {source}", shell.install())
            assert new in host.geodrop("--version").stdout
            host.wait_for_health()
        [lost] = host.machine.run("sh", "-c", "ls /opt/geodrop/lib/*/site-packages/yaml/loader.py").split()
        host.machine.run("rm", lost)
        shell.type(shell.install())
        assert host.machine.run("ls", lost).strip() == lost
        kept = host.machine.run("readlink", "/opt/geodrop")
        shell.type(shell.install())
        assert host.machine.run("readlink", "/opt/geodrop") == kept
    assert len(host.machine.run("sh", "-c", "ls -d /opt/geodrop-*").split()) == 1
    host.wait_for_health()


def test_with_xdp_and_without_again(stranger: tuple[Edge, Shell]) -> None:
    """XDP=1 moves the host to xdp, an installation without it moves it back, and neither lets anything through."""
    host, shell = stranger
    for program in REPOSITORY.glob("agent/geodrop/xdp/*.bpf.o"):
        run("cp", str(program), str(host.machine.root / TREE / "agent/geodrop/xdp"))
    with host.watched(DENIED, ALLOWED + SWITCHED):
        shell.type(shell.install("XDP=1"))
        assert _has_drop_in(host)
        host.wait_for("xdp", lambda: "xdp" in _engines(host))
        agent = host.machine.run("cat", "/etc/geodrop/agent.yaml")
        host.machine.write("/etc/geodrop/agent.yaml", agent + "engine: xdp\n")
        assert "give --xdp" in shell.fails(shell.install())
        host.machine.write("/etc/geodrop/agent.yaml", agent)
        shell.type(shell.install())
        assert not _has_drop_in(host)
        host.wait_for("nftables", lambda: _engines(host) == {"nftables"})
    assert "prog/xdp" not in host.machine.run("ip", "link", "show", "eth0")


def test_after_a_reboot(stranger: tuple[Edge, Shell]) -> None:
    """The policy is in force before the network is up, without a command."""
    host, _ = stranger
    host.power_off()
    host.power_on()
    up = host.moment("test-network.service", "ActiveEnter")
    host.wait_for_health()
    host.assert_in_force(up, up + 60, DENIED, ALLOWED + SWITCHED)


def test_in_the_root_of_an_image(machines: Path) -> None:
    """Without a systemd to notify, the operator's folder exists all the same, closed to all but geodrop."""
    require_machines()
    made = image(RELEASE, machines)
    groups = dict(line.split(":")[:3:2] for line in (made / "etc/group").read_text().splitlines())
    found = (made / "etc/geodrop").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o750, 0, int(groups["geodrop"]))


def _has_drop_in(host: Edge) -> bool:
    return host.machine.try_run("test", "-e", f"{UNITS}/geodrop.service.d").returncode == 0


def _engines(host: Edge) -> set[str]:
    """Return the engines that judge packets."""
    return {one["engine"] for one in host.status()["interfaces"]}
