# SPDX-License-Identifier: Apache-2.0
"""A Debian machine with systemd as PID 1, in a container with a network namespace of its own.

The root comes from debootstrap and is kept in build/machines, since making it takes minutes; a test works on a copy.
Only the packages of a normal host are installed, and geodrop as an operator installs it: deploy/install.sh.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.namespaces import Namespace, run
from tests.system.groups import end_group, in_a_group_of_its_own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPOSITORY = Path(__file__).parents[2]
BUILD = REPOSITORY / "build"
PACKAGES = (
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "iproute2", "procps", "libbpf1", "python3", "python3-venv"),
    *("nftables", "iptables", "ufw", "firewalld", "openssh-server"),
)
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
"""Releases of Debian, and the Python of each, which the wheels must fit."""
PIP = (sys.executable, "-m", "pip", "--quiet")

START_SECONDS = 90
_numbers = itertools.count(1)
NETWORK_UNIT = """
[Unit]
Description=bring eth0 up, as ifupdown or networkd would
After=network-pre.target
Wants=network-pre.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /etc/test-network.sh
[Install]
WantedBy=multi-user.target
"""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep other processes of the same test run from making what is shared by all: they wait, and find it made."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "machines.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@alone()
def base(release: str, included: Sequence[str] = PACKAGES) -> Path:
    """Return a root of that release with some packages; made once for each list of packages, then kept."""
    packages = ",".join(included)
    name = release if included == PACKAGES else f"{release}-{hashlib.sha256(packages.encode()).hexdigest()[:8]}"
    root = BUILD / "machines" / name
    ready = root / "packages"
    if not ready.exists() or ready.read_text() != packages:
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        # Packages fetched for one list are reused for the next.
        fetched = root.with_name(f"packages-{release}")
        fetched.mkdir(exist_ok=True)
        options = ("--variant=minbase", f"--cache-dir={fetched}", f"--include={packages}")
        run("debootstrap", *options, release, str(root))
        shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
        # A host has one firewall at a time, and most tests need no SSH; a test starts what it needs.
        services = {"firewalld": "firewalld", "nftables": "nftables", "openssh-server": "ssh"}
        for package in services.keys() & set(included):
            run("chroot", str(root), "systemctl", "disable", "--quiet", f"{services[package]}.service")
        # Modules belong to the kernel, and the kernel is not the machine's.
        run("chroot", str(root), "systemctl", "mask", "--quiet", "systemd-modules-load.service")
        ready.write_text(packages)
    return root


def image(release: str, folder: Path) -> Path:
    """Return a root with geodrop installed, in `folder`; made once a session."""
    root = folder / release
    if not root.exists():
        copy(base(release), root).install(release)
    return root


def copy(below: Path, root: Path) -> Machine:
    """Copy a root; the copy brings its network up as it boots."""
    run("cp", "--archive", "--reflink=auto", str(below), str(root))
    made = Machine(root)
    give_network(made)
    return made


def give_network(made: Machine) -> None:
    """Have a machine that is off run /etc/test-network.sh as it boots."""
    made.write("/etc/systemd/system/test-network.service", NETWORK_UNIT)
    made.chroot("systemctl", "enable", "test-network.service")


def wheels(release: str) -> Path:
    """Return a folder with geodrop's wheel and all it needs, for the Python of a release."""
    folder = locked(release, "run")
    with alone(), tempfile.TemporaryDirectory(dir=BUILD) as made:
        # setuptools packs files that an earlier build left there.
        shutil.rmtree(BUILD / "lib", ignore_errors=True)
        run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", made, str(REPOSITORY))
        [wheel] = Path(made).iterdir()
        for old in folder.glob("geodrop-*.whl"):
            if old.name != wheel.name:
                old.unlink()
        # Others may be reading the wheel of the same name.
        wheel.replace(folder / wheel.name)
    return folder


@alone()
def locked(release: str, *names: str) -> Path:
    """Return a folder with the locked packages of some files of requirements/, for a release's Python; made once."""
    folder = BUILD / "machines" / "-".join(("wheels", release, *names))
    files = [REPOSITORY / "requirements" / f"{name}.txt" for name in names]
    wanted = b"".join(file.read_bytes() for file in files)
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run(
            *PIP, "download", "--require-hashes", "--only-binary", ":all:", "--python-version", PYTHON[release],
            "--dest", str(folder), *(f"--requirement={file}" for file in files),
        )  # fmt: skip
        stamp.write_bytes(wanted)
    return folder


@dataclass
class Machine:
    """One container: `root` is its file system, `namespace` its network, which is new at every start."""

    root: Path
    namespace: Namespace | None = None
    started: float = 0.0
    _container: subprocess.Popen[bytes] | None = None
    _log: Path = field(default_factory=Path)

    def install(self, release: str) -> None:
        """Install geodrop as an operator does, without a network."""
        for name in ("systemd", "requirements", "deploy", "docs"):
            shutil.copytree(REPOSITORY / name, self.root / "root/geodrop" / name, dirs_exist_ok=True)
        shutil.copytree(wheels(release), self.root / "root/wheels", dirs_exist_ok=True)
        environment = ["env", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/root/wheels", "PIP_CONFIG_FILE=/dev/null"]
        self.chroot(*environment, "sh", "-c", "/root/geodrop/deploy/install.sh /root/wheels/geodrop-*.whl")

    def chroot(self, *command: str) -> str:
        """Run a command in the root while the machine is off."""
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        return run("chroot", str(self.root), *clean, *command)

    def start(self, namespace: Namespace) -> None:
        """Power on, with a network namespace in which nothing has been loaded yet."""
        self.namespace = namespace
        self._log = self.root.with_suffix(".console")
        self.started = time.monotonic()
        with self._log.open("ab") as log:
            self._container = subprocess.Popen(
                in_a_group_of_its_own(namespace.name, [
                    "systemd-nspawn", "--quiet", "--boot", "--directory", str(self.root),
                    "--network-namespace-path", f"/run/netns/{namespace.name}",
                    "--register=no", "--keep-unit", "--console=read-only", "--link-journal=no", "--resolv-conf=off",
                    "--capability=all", "--system-call-filter=bpf perf_event_open",
                ]),
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def is_on(self) -> bool:
        """Whether the machine runs."""
        return self._leader() != 0

    def wait_until_up(self) -> str:
        """Wait for the end of the boot; return systemd's state (running, degraded)."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            done = self.try_run("systemctl", "is-system-running", "--wait")
            if done.stdout.strip() in ("running", "degraded"):
                return done.stdout.strip()
            time.sleep(0.1)
        raise RuntimeError(f"the machine did not come up:\n{self.console()}")

    def stop(self) -> None:
        """Power off, in order."""
        self.try_run("systemctl", "poweroff")
        if self._container:
            try:
                self._container.wait(60)
            except subprocess.TimeoutExpired:
                self.cut_power()
        self._ended()

    def cut_power(self) -> None:
        """End every process of the machine at once, so that nothing more is written."""
        if self._container and (leader := self._leader()):
            os.kill(leader, 9)
        if self._container:
            self._container.wait(30)
        self._ended()

    def try_run(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root, whatever its exit code."""
        if not self._leader():
            return subprocess.CompletedProcess(command, 255, "", "the machine is off")
        inside = self._inside(*command)
        return subprocess.run(inside, input=stdin, text=True, capture_output=True, check=False)

    def show(self, *command: str) -> int:
        """Run a command inside with its output going where this process's goes; return its exit code."""
        return subprocess.run(self._inside(*command), stdin=subprocess.DEVNULL, check=False).returncode

    def begin(self, *command: str) -> None:
        """Start a command inside and do not wait for its end."""
        detached = ("setsid", "--fork", *command)
        subprocess.run(self._inside(*detached), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a command inside as root. Raises RuntimeError with its output if it fails."""
        done = self.try_run(*command, stdin=stdin)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def journal(self, unit: str = "", lines: int = 200) -> str:
        """Return the end of the journal, of one unit or of all."""
        self.try_run("journalctl", "--sync")
        return self.try_run("journalctl", "--no-pager", f"-n{lines}", *(["-u", unit] if unit else [])).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the machine, on or off."""
        at = self.root / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text, encoding="utf-8")
        at.chmod(mode)

    def own(self, path: str, user: str, group: str) -> None:
        """Give a file of the machine to a user and a group of the machine."""
        self.chroot("chown", f"{user}:{group}", path)

    def console(self) -> str:
        """Return the end of the machine's console output."""
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def _inside(self, *command: str) -> list[str]:
        clean = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]
        return ["nsenter", f"--target={self._leader()}", "--all", "env", "-i", *clean, *command]

    def _ended(self) -> None:
        self._container = None
        if self.namespace:
            end_group(self.namespace.name)

    def _leader(self) -> int:
        """Return the PID of the container's PID 1 on this machine; 0 while there is none."""
        if not self._container:
            return 0
        with contextlib.suppress(OSError, ValueError):
            children = Path(f"/proc/{self._container.pid}/task/{self._container.pid}/children").read_text().split()
            # nspawn forks a stub that prepares the root, and the stub forks the machine's PID 1 or becomes it by exec.
            for child in map(int, children):
                if Path(f"/proc/{child}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == "1":
                    return child
        return 0


@contextlib.contextmanager
def machine(below: Path, folder: Path) -> Iterator[Machine]:
    """Yield a machine made from a root, powered off; its processes end with the block.

    Its changes are kept in memory, over the root.
    """
    scratch = folder / f"machine-{next(_numbers)}"
    scratch.mkdir()
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(scratch))
    try:
        upper, work, root = scratch / "upper", scratch / "work", scratch / "root"
        for path in (upper, work, root):
            path.mkdir()
        options = f"lowerdir={below},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", "-o", options, "overlay", str(root))
        made = Machine(root)
        try:
            yield made
        finally:
            made.cut_power()
            run("umount", "--lazy", str(root))
    finally:
        run("umount", "--lazy", str(scratch))
