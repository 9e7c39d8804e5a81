"""Where state, sockets and locks live: apart for each network namespace, since each has a dataplane of its own.

In the machine's own namespace (that of PID 1) they are in the usual folders; in any other one in a folder named by the
namespace's cookie, so that tests, demos and a live daemon on one machine never meet. A cookie, unlike the inode of
/proc/PID/ns/net, is not used again for another namespace before the next boot. The state outlives a boot and its
namespaces do not, so its folder names the boot too.
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
    """The state directory of this network namespace."""
    return _path(STATE if _is_machines_own() else f"{states_of_namespaces()}/{_boot()}-{namespace_cookie()}")


def states_of_namespaces() -> str:
    """The folder of the state directories of network namespaces other than the machine's own."""
    return f"{STATE}/netns"


def is_of_earlier_boot(name: str) -> bool:
    """Whether a state directory in that folder is of a network namespace that went with an earlier boot.

    Not where it was used in this one, which its folder under /run tells: in a container a service with ProtectProc= may
    see the number of the kernel's boot, and others that of the container's.
    """
    cookie = name.rpartition("-")[2]
    return not (name.startswith(f"{_boot()}-") or os.path.exists(f"{RUN}/netns/{cookie}"))


def default_socket() -> Path:
    """The control socket of this network namespace."""
    return _path(_apart(RUN), "control.sock")


def compile_socket() -> Path:
    """Where systemd starts an instance of geodrop-compile@.service for whoever connects, if it is there."""
    return _path(_apart(RUN), "compile.sock")


def lock_file() -> str:
    """The lock that whoever changes this namespace's dataplane holds, whatever agent.yaml says of other places."""
    return f"{_apart(RUN)}/lock"


def daemon_file() -> str:
    """Where a daemon says which socket it answers on, for everybody to read. In the lock's folder."""
    return f"{os.path.dirname(lock_file())}/daemon"


def until_boot() -> str:
    """The folder for what is known until the next boot."""
    return _apart(RUN)


def refusal_log() -> Path:
    """What the kernel's verifier said of the last program that it refused."""
    return _path(_apart(RUN), "verifier.log")


def namespace_cookie() -> int:
    """The number of this thread's network namespace, unique until the next boot (since Linux 5.14)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)


def default_pins() -> Path:
    """Where the XDP engine of this network namespace pins its objects: a folder in a bpffs."""
    return _path(_apart(f"{bpffs()}/geodrop"))


def bpffs() -> Path:
    """Where the bpffs is, or ought to be, that holds the pins."""
    return _path(OWN_BPFFS if os.path.ismount(OWN_BPFFS) else BPFFS)


def _path(*parts: str) -> Path:
    # Imported here, since the lock is all that a command needs to find the daemon.
    from pathlib import Path  # noqa: PLC0415

    return Path(*parts)


def _apart(folder: str) -> str:
    return folder if _is_machines_own() else f"{folder}/netns/{namespace_cookie()}"


def _boot() -> str:
    """The number of this boot, drawn by the kernel: eight of its hexadecimal digits."""
    with open(BOOT, encoding="ascii") as file:
        return file.read(8)


def _is_machines_own() -> bool:
    # Every namespace has its own inode for net/dev. Unlike /proc/1/ns/net, which only a process that may trace PID 1
    # can look at, it answers whoever sees PID 1 at all.
    own = os.stat("/proc/thread-self/net/dev")
    try:
        machine = os.stat("/proc/1/net/dev")
    except (FileNotFoundError, PermissionError):
        # Hidden from services with ProtectProc=: those run where PID 1 put them, or name their places in agent.yaml.
        return True
    return (own.st_dev, own.st_ino) == (machine.st_dev, machine.st_ino)
