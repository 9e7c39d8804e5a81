# SPDX-License-Identifier: Apache-2.0
"""`make test-bare`: on a fresh machine, run what README.md says to type, with only what such a machine has.

The machine is a Debian with nothing but systemd. The checkout is in /root, which only root can enter; a bpffs is on
/sys/fs/bpf, as systemd mounts it on every host; clang, nft and Python are the release's own. The packages come from
Debian's mirror as on any machine; afterwards the machine boots with its own network, which reaches no other host.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.support.namespaces import namespaces, run
from tests.system.checkout import checkout, commands
from tests.system.machine import BUILD, PYTHON, Machine, base, locked, wheels
from tests.system.packages import locked as locked_for
from tests.system.packages import target
from tests.system.test_install import PACKAGES as ON_A_STRANGERS_HOST

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("systemd", "systemd-sysv", "dbus")
WHEELS = "/root/wheels"
PIP = (f"PIP_FIND_LINKS={WHEELS}", "PIP_NO_INDEX=1", "PIP_CONFIG_FILE=/dev/null")
MACHINES_INSIDE = "bookworm"
"""The Debian release of most machines that tests start; made here, because here a package mirror is reachable."""

MOUNTS = """
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
mount -o remount,bind,rw /proc/sys
"""


def bare(release: str) -> Path:
    """Make a new root folder that holds the checkout, and the packages that pip will ask for."""
    root = BUILD / "machines" / f"bare-{release}"
    shutil.rmtree(root, ignore_errors=True)
    run("cp", "--archive", "--reflink=auto", str(base(release, PACKAGES)), str(root))
    tree = root / "root/geodrop"
    checkout(tree)
    (root / "root").chmod(0o700)
    # Ansible has an environment of its own, with other versions of what both need.
    for names in (("run", "dev", "build"), ("fleet",)):
        shutil.copytree(locked(release, *names), root / WHEELS[1:], dirs_exist_ok=True)
    inside = tree / "build/machines"
    inside.mkdir(parents=True)
    # A fleet has machines of each release, and packages are built for two processors.
    made = (*map(base, PYTHON), base(MACHINES_INSIDE, ON_A_STRANGERS_HOST))
    for folder in (*made, wheels(MACHINES_INSIDE), locked(MACHINES_INSIDE, "run", "build")):
        run("cp", "--archive", "--reflink=auto", str(folder), str(inside / folder.name))
    for wanted in (*map(target, PYTHON), target(MACHINES_INSIDE, "arm64")):
        locked_for(wanted)
    shutil.copytree(BUILD / "wheels", tree / "build/wheels")
    return root


def with_network(root: Path, command: str) -> None:
    """Run a command in the root folder before it boots, with this machine's network."""
    words = ["systemd-nspawn", "--quiet", "--as-pid2", "--register=no", "--keep-unit", f"--directory={root}"]
    words += [f"--setenv={one}" for one in (*PIP, "DEBIAN_FRONTEND=noninteractive")]
    subprocess.run([*words, "--chdir=/root/geodrop", "sh", "-euc", command], check=True, stdin=subprocess.DEVNULL)


def typed_in_a_unit(command: str) -> list[str]:
    """Return the words that run a command as a unit of the machine's systemd, as a login shell is one.

    A process that only entered the machine stays in a control group outside of it, and could start no machine there.
    """
    unit = ["systemd-run", "--pipe", "--wait", "--quiet", "--collect", "--property=Delegate=yes"]
    unit += ["--working-directory=/root/geodrop", *(f"--setenv={one}" for one in (*PIP, "HOME=/root", "LANG=C.UTF-8"))]
    return [*unit, "sh", "-c", command]


def main() -> int:
    """Make the machine, and type there what README.md says."""
    release, *instead = sys.argv[1:]
    install, *typed = commands("make test")
    root = bare(release)
    with_network(root, f"apt-get -q update; {install}; make test-setup")
    with namespaces("bare") as [namespace]:
        machine = Machine(root)
        machine.start(namespace)
        try:
            machine.wait_until_up()
            machine.run("sh", "-euc", MOUNTS)
            for command in instead or typed:
                print(f"\n# {release}: {command}", flush=True)
                began = time.monotonic()
                code = machine.show(*typed_in_a_unit(command))
                print(f"# {release}: {command}: exit {code} after {time.monotonic() - began:.0f} s", flush=True)
                if code:
                    return code
        finally:
            machine.stop()
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
