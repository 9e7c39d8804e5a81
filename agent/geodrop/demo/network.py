# SPDX-License-Identifier: Apache-2.0
"""Two temporary network namespaces joined by a veth: an API on one side, clients from several countries on the other.

A namespace lives as long as the one process that was started in it, and that process ends when its standard input
closes. So no named namespace can be left behind, even if the demo is killed: the kernel removes both.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from geodrop.errors import ApplyError, Excused, PrivilegeError, UnavailableError
from geodrop.linux.capabilities import missing
from geodrop.linux.namespace import entered
from geodrop.linux.network_setup import NetworkSetup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.linux.network_setup import Address

API: dict[int, Address] = {4: IPv4Address("203.0.113.10"), 6: IPv6Address("2001:db8::10")}
"""Where the API listens: documentation addresses (RFC 5737, RFC 3849), which no host has."""

PORT = 443
INTERFACE = "eth0"
"""The name of both ends of the veth, each in its own namespace."""

STOP_SECONDS = 5.0

NEEDED_CAPABILITIES = ("CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_SYS_ADMIN")
"""To listen on a port below 1024, to configure links, to make namespaces."""

NEEDED_PROGRAMS = {"nsenter": "util-linux", "unshare": "util-linux"}
"""Programs and the Debian packages that bring them."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace: the id of the process that holds it, and the pipes to (`given`) and from (`said`) it."""

    pid: int
    given: IO[str]
    said: IO[str]

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` in this namespace."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command]

    @contextmanager
    def setup(self) -> Iterator[NetworkSetup]:
        """Enter this namespace with the calling thread to set up its network; raises UnavailableError."""
        failed = "the demo's network cannot be set up"
        with ExitStack() as stack:
            try:
                stack.enter_context(entered(self.pid))
            except OSError as error:
                raise UnavailableError(f"{failed}: {error.filename} cannot be entered ({error.strerror})") from error
            try:
                yield stack.enter_context(NetworkSetup())
            except UnavailableError as error:
                raise UnavailableError(f"{failed}: {error.message}", error.next_step) from error


def check_host() -> None:
    """Raise PrivilegeError or UnavailableError, naming everything that is missing to make the namespaces."""
    if absent := missing(NEEDED_CAPABILITIES):
        raise PrivilegeError(f"the demo makes network namespaces and has no {', '.join(absent)}", "run it as root")
    packages = {package for program, package in NEEDED_PROGRAMS.items() if shutil.which(program) is None}
    if packages:
        raise UnavailableError(
            f"the demo needs programs from {', '.join(sorted(packages))}",
            f"install them: apt-get install {' '.join(sorted(packages))}",
        )


@contextmanager
def two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Make the API's namespace, with its server listening, and the clients', joined; clients have no addresses yet."""
    with ExitStack() as stack:
        api = stack.enter_context(_held_by("geodrop.demo.server"))
        outside = stack.enter_context(_held_by("geodrop.demo.clients"))
        with api.setup() as network:
            network.join(INTERFACE, INTERFACE, outside.pid)
            network.bring_up("lo")
            network.bring_up(INTERFACE)
            network.add_addresses(INTERFACE, API.values())
            # There is no gateway, so every client is a neighbour, found by ARP or neighbour discovery.
            for everywhere in (IPv4Address(0), IPv6Address(0)):
                network.add_route(INTERFACE, everywhere, 0)
        with outside.setup() as network:
            network.bring_up("lo")
            network.bring_up(INTERFACE)
            for address in API.values():
                network.add_route(INTERFACE, address, address.max_prefixlen)
        yield api, outside


def add_addresses(namespace: Namespace, addresses: Iterable[Address]) -> None:
    """Add addresses to the namespace's interface; raises UnavailableError."""
    with namespace.setup() as network:
        network.add_addresses(INTERFACE, addresses)


@contextmanager
def _held_by(module: str) -> Iterator[Namespace]:
    """Run a module in a new namespace and wait until it is ready; raises ApplyError if it ends before that."""
    # -P: with -m alone Python would first import from the current folder, which another user may control.
    # Its own process group: Ctrl-C at the terminal reaches only the demo, which then ends its processes in order.
    holder = subprocess.Popen(
        ["unshare", "--net", "--", sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    # Both are pipes, as requested above; the types cannot express this.
    given, said = cast("IO[str]", holder.stdin), cast("IO[str]", holder.stdout)
    with ExitStack() as stack:
        stack.callback(_stop, holder, given, said)
        ready = said.readline()
        if not ready:
            raise ApplyError(
                f"{module} ended before it was ready (exit code {holder.wait()})", "see what it said above"
            )
        lock = Path(json.loads(ready)["lock"])
        stack.callback(_remove_folder, lock.parent, [folder for folder in lock.parents if not folder.exists()])
        yield Namespace(holder.pid, given, said)


def _remove_folder(folder: Path, made: Sequence[Path]) -> None:
    """Remove the folder under /run that belongs to a namespace, with all that is in it, and those `made` around it.

    `made` are folders that were not there before, innermost first. Those around it stay if others put something there.
    """
    if folder in made:
        shutil.rmtree(folder, ignore_errors=True)
    with Excused(errno.ENOTEMPTY, errno.ENOENT):
        for around in made[1:]:
            around.rmdir()


def _stop(holder: subprocess.Popen[str], given: IO[str], said: IO[str]) -> None:
    """End a holder by closing its standard input; kill it if it has not ended after STOP_SECONDS."""
    with suppress(BrokenPipeError):
        given.close()
    try:
        holder.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()
    said.close()
