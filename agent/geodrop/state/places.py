# SPDX-License-Identifier: Apache-2.0
"""The paths of state, sockets and locks: separate for each network namespace, because each has its own dataplane.

In the machine's own namespace (that of PID 1) the usual folders are used; in any other namespace, a folder named by the
namespace's cookie, so that tests, demos and a live daemon on one machine never meet. A cookie, unlike the inode of
/proc/PID/ns/net, is not used again for another namespace before the next boot. State outlives a boot, but namespaces do
not, so the name of a state folder contains the boot ID too.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STATE = "/var/lib/geodrop"
RUN = "/run/geodrop"
BPFFS = "/sys/fs/bpf"
OWN_BPFFS = f"{RUN}/bpf"
"""Where systemd/run-geodrop-bpf.mount mounts a bpffs for the daemon, which may not enter /sys/fs/bpf."""
BOOT = "/proc/sys/kernel/random/boot_id"
SO_NETNS_COOKIE = 71  # asm-generic/socket.h; the socket module has no name for it


def default_state() -> Path:
    """Return the state directory of this network namespace."""
    return _path(STATE if is_machines_own() else f"{states_of_namespaces()}/{kernels_boot()[:8]}-{namespace_cookie()}")


def states_of_namespaces() -> str:
    """Return the folder of the state directories of network namespaces other than the machine's own."""
    return f"{STATE}/netns"


def is_of_earlier_boot(name: str) -> bool:
    """Return whether a state directory in that folder belongs to a network namespace of an earlier boot.

    It does not if it was used in this boot, which its folder under /run tells: in a container a service with
    ProtectProc= may see the number of the kernel's boot, and other services that of the container's.
    """
    cookie = name.rpartition("-")[2]
    return not (name.startswith(f"{kernels_boot()[:8]}-") or os.path.exists(f"{RUN}/netns/{cookie}"))


def default_socket() -> Path:
    """Return the default control socket of this network namespace."""
    return _path(_apart(RUN), "control.sock")


def compile_socket() -> Path:
    """Return the socket where systemd starts a geodrop-compile@.service for each client; it need not exist."""
    return _path(_apart(RUN), "compile.sock")


def lock_file() -> str:
    """Return the lock file for changes of this namespace's dataplane; agent.yaml cannot move it."""
    return f"{_apart(RUN)}/lock"


def daemon_file() -> str:
    """Return the file, in the lock's folder, where a daemon writes which socket it answers on, readable for all."""
    return f"{os.path.dirname(lock_file())}/daemon"


def until_boot() -> str:
    """Return the folder for data kept until the next boot."""
    return _apart(RUN)


def refusal_log() -> Path:
    """Return the file with the kernel verifier's log of the last program that it refused."""
    return _path(_apart(RUN), "verifier.log")


def namespace_cookie() -> int:
    """Return the cookie of this thread's network namespace, unique until the next boot (since Linux 5.14)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)


def default_pins() -> Path:
    """Return the folder, in a bpffs, where the XDP engine of this network namespace pins its objects."""
    return _path(_apart(f"{bpffs()}/geodrop"))


def bpffs() -> Path:
    """Return the mount point of the bpffs for the pins; it need not be mounted."""
    return _path(OWN_BPFFS if os.path.ismount(OWN_BPFFS) else BPFFS)


def _path(*parts: str) -> Path:
    # Imported only here: a command that asks the daemon needs no pathlib, only the lock's path.
    from pathlib import Path  # noqa: PLC0415

    return Path(*parts)


def _apart(folder: str) -> str:
    return folder if is_machines_own() else f"{folder}/netns/{namespace_cookie()}"


def kernels_boot() -> str:
    """Return the kernel's random boot ID, as this process sees it; what belongs to a boot asks state.this_boot."""
    with open(BOOT, encoding="ascii") as file:
        return file.read().strip()


def is_machines_own() -> bool:
    """Return whether this process is in the network namespace of PID 1."""
    # Every namespace has its own inode for net/dev. Any process that sees PID 1 can stat it, while /proc/1/ns/net needs
    # the right to trace PID 1.
    own = os.stat("/proc/thread-self/net/dev")
    try:
        machine = os.stat("/proc/1/net/dev")
    except (FileNotFoundError, PermissionError):
        # Services with ProtectProc= do not see PID 1: they run in its namespace, or name their paths in agent.yaml.
        return True
    return (own.st_dev, own.st_ino) == (machine.st_dev, machine.st_ino)
