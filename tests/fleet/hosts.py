# SPDX-License-Identifier: Apache-2.0
"""A fleet: Debian machines with systemd on a bridge, a controller that reaches them by SSH, and clients that send.

All of it lives in network namespaces of its own. The controller is this machine's own Ansible, started in the
namespace of the bridge.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.namespaces import End, Namespace, run
from tests.system.edge import ALLOWED, DENIED, SOURCES, SWITCHED, Edge
from tests.system.machine import BUILD, REPOSITORY, give_network, machine
from tests.system.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONTROLLER = "198.18.0.254"
PORT = 8000
"""Where the controller serves files."""
CLIENT = "198.18.0.253"
PAUSE = 0.02
"""Seconds between two rounds of probes to one host: about 45 rounds a second, for five hosts on two cores."""

NETWORK = """
ip address add {v4}/24 dev eth0
ip address add {v6}/64 dev eth0 nodad
ip link set eth0 up
ip route add default via 198.18.0.254
ip route add default via 2001:2::fe
"""
COLLECTION = REPOSITORY / "deploy" / "ansible"
SERVER = """
import functools, http.server, os, sys

class Handler(http.server.SimpleHTTPRequestHandler):
    def send_head(self):
        if os.path.exists(self.translate_path(self.path) + ".gz") and "gzip" in self.headers["Accept-Encoding"]:
            self.path += ".gz"
        return super().send_head()

    def end_headers(self):
        if self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()

address, port, folder = sys.argv[1:]
server = http.server.ThreadingHTTPServer((address, int(port)), functools.partial(Handler, directory=folder))
print("serving", flush=True)
server.serve_forever()
"""
"""A web server that sends FILE.gz, if there is one, to whom compressed files are welcome, as nginx with gzip_static."""
SECONDS = 600.0
"""Limit for one run of Ansible."""


@dataclass
class Host(Edge):
    """One host of the fleet, with its clients."""

    name: str = ""
    number: int = 0
    bridge: Namespace | None = None

    @property
    def address(self) -> str:
        """The IPv4 address by which the controller reaches it."""
        return f"198.18.0.{self.number}"

    @property
    def port(self) -> str:
        """The port of the bridge that it is plugged into."""
        return f"port{self.number}"

    @property
    def local(self) -> dict[int, str]:
        """Its addresses by family."""
        return {4: self.address, 6: f"2001:2::{self.number}"}

    def power_on_only(self) -> None:
        """Begin to boot, with probes from before the first process on."""
        self.namespace = Namespace.make("edge")
        self._until_off.callback(self.namespace.delete)
        self.plug_in()
        self._until_off.callback(self.unplug)
        client, inside = End(self.client, "eth0"), End(self.namespace, "eth0")
        self.probes = self._until_off.enter_context(Probes(client, inside, SOURCES, self.local, PAUSE))
        self.machine.start(self.namespace)

    def power_on(self) -> None:
        """Boot, and wait until the boot is over."""
        self.power_on_only()
        self.settle()

    def settle(self) -> None:
        """Wait for the end of the boot."""
        assert self.machine.wait_until_up() == "running", self.machine.run("systemctl", "--failed")

    def plug_in(self) -> None:
        """Give the host its interface, down, and the bridge the other end."""
        assert self.namespace
        assert self.bridge
        mac = f"02:00:00:00:01:{self.number:02x}"
        there = ("peer", "name", "eth0", "address", mac, "netns", self.namespace.name)
        run("ip", "link", "add", self.port, "netns", self.bridge.name, "type", "veth", *there)
        self.bridge.run("ip", "link", "set", self.port, "master", "br0", "up")
        # Frames to a host whose address the bridge has not learnt would reach every other host as well.
        self.bridge.run("bridge", "fdb", "replace", mac, "dev", self.port, "master", "static")

    def unplug(self) -> None:
        """Remove the cable."""
        assert self.bridge
        self.bridge.run("ip", "link", "delete", self.port)


@dataclass
class Fleet:
    """The hosts, and the controller's folder with inventory, keys, policies and database.

    `digest` is that of the ruleset which a test may count on, once one is in force.
    """

    folder: Path
    bridge: Namespace
    client: Namespace
    hosts: list[Host] = field(default_factory=list)
    digest: str = ""

    def __getitem__(self, name: str) -> Host:
        """Return a host by its name."""
        return next(host for host in self.hosts if host.name == name)

    def ansible(
        self, *arguments: str, program: str = "ansible-playbook", version: str = "fleet"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Ansible on the controller; its output is both streams."""
        return self._run([program, *arguments], version)

    def _run(self, command: Sequence[str], version: str) -> subprocess.CompletedProcess[str]:
        began = time.monotonic()
        with self.begun(*command, version=version) as process:
            output, _ = process.communicate(timeout=SECONDS)
        print(f"{output}\n{time.monotonic() - began:.1f} s: {' '.join(command)}")
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    @contextlib.contextmanager
    def begun(self, *command: str, version: str = "fleet") -> Iterator[subprocess.Popen[str]]:
        """Start a command on the controller in a process group of its own, and end that with the block."""
        inside = ["nsenter", f"--net=/run/netns/{self.bridge.name}", *command]
        process = subprocess.Popen(
            inside, cwd=self.folder, env=self.environment(version), text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        with process:  # whose end waits for the process
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)

    def shell(self, *lines: str, version: str = "fleet") -> str:
        """Run lines of a shell on the controller, which must succeed; return their output."""
        done = self._run(["bash", "-ec", "\n".join(lines)], version)
        assert done.returncode == 0, done.stdout
        return done.stdout

    @contextlib.contextmanager
    def serving(self, folder: Path) -> Iterator[str]:
        """Serve a folder to the hosts, with requests in served.log; yield the URL of the ruleset in it."""
        command = shlex.join(["python3", "-c", SERVER, CONTROLLER, str(PORT), str(folder)])
        with self.begun("bash", "-c", f"exec {command} 2>served.log") as process:
            assert process.stdout
            assert process.stdout.readline() == "serving\n"
            yield f"http://{CONTROLLER}:{PORT}/fleet.ruleset"

    def rollout(self, *arguments: str, version: str = "fleet") -> subprocess.CompletedProcess[str]:
        """Run the rollout as docs/fleet.md has it."""
        return self.ansible("geodrop.edge.rollout", "-e", "@fleet.yml", *arguments, version=version)

    def environment(self, version: str) -> dict[str, str]:
        """Return the environment of the controller: geodrop and Ansible, and nothing of the tests' own."""
        return {
            "PATH": f"{BUILD / version}/bin:{REPOSITORY}/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / f"home-{version}"),
        }

    def write(self, name: str, text: str) -> None:
        """Write a file of the controller."""
        (self.folder / name).write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def unnoticed(self, *names: str, allowed: Sequence[str] = ALLOWED + SWITCHED) -> Iterator[None]:
        """Check that on these hosts no denied packet passes and no allowed one is dropped, while the body runs."""
        with contextlib.ExitStack() as stack:
            for name in names:
                stack.enter_context(self[name].watched(DENIED, allowed))
            yield


CONFIG = """
[defaults]
callback_result_format = yaml
inventory = hosts.ini
collections_path = {folder}/collections
host_key_checking = True
forks = 5
timeout = 5
interpreter_python = /usr/bin/python3
[ssh_connection]
pipelining = True
control_path_dir = {folder}/cp
ssh_args = -C -o ControlMaster=auto -o ControlPersist=60s
"""


@contextlib.contextmanager
def fleet(roots: Sequence[Path], machines: Path, inventory: str) -> Iterator[Fleet]:
    """Yield a fleet of one host for each root, powered on, named edge-11, edge-12 and so on; `inventory` has groups."""
    with contextlib.ExitStack() as stack:
        # Sockets of SSH have short names only.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-", ignore_cleanup_errors=True)))
        bridge, client = Namespace.make("fleet"), Namespace.make("clients")
        stack.callback(bridge.delete)
        stack.callback(client.delete)
        made = Fleet(folder, bridge, client)
        _wire(made)
        _controller(made, inventory)
        key = (folder / "key.pub").read_text()
        known = []
        for number, root in enumerate(roots, 11):
            box = stack.enter_context(machine(root, machines))
            give_network(box)
            box.chroot("systemctl", "enable", "--quiet", "ssh.service")
            # Its cgroup is never empty in these containers, so that each login would wait for its end.
            box.chroot("systemctl", "mask", "--quiet", "user@.service")
            host = Host(box, client, {}, name=f"edge-{number}", number=number, bridge=bridge)
            made.hosts.append(host)
            box.write("/etc/test-network.sh", NETWORK.format(v4=host.address, v6=host.local[6]))
            box.write("/root/.ssh/authorized_keys", key, 0o600)
            known.append(f"{host.address} {(box.root / 'etc/ssh/ssh_host_ed25519_key.pub').read_text().strip()}\n")
            stack.callback(host.cut_power)
            host.power_on_only()
        made.write("known_hosts", "".join(known))
        for host in made.hosts:
            host.settle()
        yield made


def _wire(made: Fleet) -> None:
    bridge, client = made.bridge, made.client
    bridge.run("ip", "link", "add", "br0", "type", "bridge")
    for address in (f"{CONTROLLER}/24", "2001:2::fe/64"):
        bridge.run("ip", "address", "add", address, "dev", "br0", *(["nodad"] if ":" in address else []))
    bridge.run("ip", "link", "set", "br0", "up")
    run(
        "ip",
        "link",
        "add",
        "clients",
        "netns",
        bridge.name,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        client.name,
    )
    bridge.run("ip", "link", "set", "clients", "master", "br0", "up")
    client.run("ip", "address", "add", f"{CLIENT}/24", "dev", "eth0")
    client.run("ip", "link", "set", "eth0", "up")


def _controller(made: Fleet, inventory: str) -> None:
    folder = made.folder
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key"))
    made.write("ansible.cfg", CONFIG.format(folder=folder))
    made.write("hosts.ini", inventory.format(folder=folder))
    place = folder / "collections/ansible_collections/geodrop"
    place.mkdir(parents=True)
    (place / "edge").symlink_to(COLLECTION)
    (folder / "deploy").symlink_to(REPOSITORY / "deploy")
    [packed] = (REPOSITORY / "agent/geodrop/data").glob("*.xz")
    (folder / "COUNTRY.mmdb").write_bytes(lzma.decompress(packed.read_bytes()))


def changed(said: str) -> dict[str, int]:
    """Return how many tasks changed each host, from the recap."""
    return {name: int(count) for name, count in re.findall(r"^(edge-\d+) +: ok=\d+ +changed=(\d+)", said, re.MULTILINE)}
