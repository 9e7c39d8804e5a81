# SPDX-License-Identifier: Apache-2.0
"""A privileged process never contains a reader of databases or policies, not even one imported temporarily.

tests/test_architecture.py checks what a verb's module imports; this test runs the verbs to their end and checks then.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import TIMEOUT, Geodrop
from tests.support.databases import country, write_database
from tests.support.namespaces import namespaces, require
from tests.test_architecture import PRIVILEGED, UNTRUSTED_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

POLICY = "version: 1\nservices:\n  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: [CN]}\n"

REPORT = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=open({path!r}, "w")))
from geodrop.cli.main import main
sys.exit(main({arguments!r}))
"""
"""Run a command line and record, at its very end, every module in the process."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Geodrop]:
    """Yield a namespace with a policy and a database beside it."""
    require()
    folder = tmp_path_factory.mktemp("host")
    write_database(folder / "d.mmdb", {"1.0.0.0/8": country("CN"), "8.0.0.0/8": country("US")})
    (folder / "p.yaml").write_text(POLICY)
    with namespaces("imports") as [namespace]:
        geodrop = Geodrop(folder, namespace)
        geodrop.command()
        with (folder / "agent.yaml").open("a") as config:
            config.write("source: {policy: p.yaml, databases: [d.mmdb]}\ninterfaces: [lo]\n")
        yield geodrop


def modules_after(host: Geodrop, *arguments: str, code: int = 0) -> set[str]:
    """Return every module in the process of a command line when it ends, which must be with that code."""
    listing = host.folder / "modules"
    command = host.command(*arguments)
    at = command.index("-m")
    script = REPORT.format(path=str(listing), arguments=command[at + 2 :])
    done = subprocess.run([*command[:at], "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    modules = set(listing.read_text().split())
    assert f"geodrop.cli.{arguments[0]}" in modules, "the listing is that of another process"
    return modules


def test_no_verb_ever_holds_what_parses_untrusted_input(host: Geodrop) -> None:
    """After compile, load, read, each way of explain and simulate, and unload: no process that may be root has any."""
    policy, changed, database, ruleset = (
        str(host.folder / name) for name in ("p.yaml", "c.yaml", "d.mmdb", "r.ruleset")
    )
    log = str(host.folder / "access.log")
    Path(log).write_text("1.2.3.4\n")
    (host.folder / "c.yaml").write_text(POLICY.replace("[CN]", "[US]"))
    hosts = host.folder / "hosts"
    hosts.mkdir()
    (hosts / "edge-1.json").write_text('{"unreachable": true}')
    steps = [
        ["check", policy],
        ["compile", "--policy", policy, "--database", database, "-o", ruleset],
        ["load", ruleset],
        ["status"],
        ["counters"],
        ["verify"],
        ["explain", "1.2.3.4"],
        ["explain", "1.2.3.4", "--ruleset", ruleset],
        ["explain", "1.2.3.4", "--policy", policy, "--database", database],
        ["exempt"],
        ["confirm"],
        ["simulate", log, "--ruleset", ruleset],
        ["simulate", log, "--policy", policy, "--database", database],
        ["pause"],
        ["resume"],
        ["compile", "--policy", changed, "--database", database, "-o", ruleset],
        ["load", ruleset],
        ["plan", ruleset],
        ["plan", "--policy", policy, "--database", database],
        ["rollback"],
        ["history"],
        ["doctor"],
        ["regions"],
        ["regions", "atlas:eu", "--database", database],
        ["export", ruleset, "--format", "nft"],
        ["export", ruleset, "--format", "json"],
        ["unload"],
    ]
    found = {" ".join(step): modules_after(host, *step) & UNTRUSTED_INPUT for step in steps}
    found["fleet"] = modules_after(host, "fleet", str(hosts), code=1) & UNTRUSTED_INPUT
    assert not {step: modules for step, modules in found.items() if modules}
    # The demo only runs the others; the rest is below.
    others = {"demo", "run", "reload"}
    assert {*(step[0] for step in steps), "fleet"} == set(PRIVILEGED) - others, (
        "the demo only runs the others, the rest is below"
    )


def test_a_boot_does_without_pyroute2(host: Geodrop) -> None:
    """pyroute2 takes as long to import as the rest of a boot, which needs no interfaces."""
    ruleset = str(host.folder / "boot.ruleset")
    host.good(
        "compile", "--policy", str(host.folder / "p.yaml"), "--database", str(host.folder / "d.mmdb"), "-o", ruleset
    )
    assert of_pyroute2(modules_after(host, "load", "--engine", "nftables", ruleset)), "or the boot would prove nothing"
    assert host.namespace is not None
    host.namespace.run("nft", "delete", "table", "inet", "geodrop")
    modules = modules_after(host, "load", "--boot")
    assert host.run("status").code == 0, "it has put nothing in force"
    assert not of_pyroute2(modules)
    host.good("unload")


def test_neither_does_the_daemon(host: Geodrop) -> None:
    """The daemon, from its start through a reload to its end, and a command that asks it import none of pyroute2.

    Such commands only wait for the daemon: interfaces are read, and the reader imported, elsewhere.
    """
    listing = host.folder / "daemon-modules"
    command = host.command("run")
    at = command.index("-m")
    script = REPORT.format(path=str(listing), arguments=command[at + 2 :])
    with running([*command[:at], "-c", script], host.folder) as process:
        for verb in ("reload", "status", "pause", "resume", "counters", "verify", "explain", "history"):
            modules = modules_after(host, verb, *(["1.2.3.4"] if verb == "explain" else []))
            assert not modules & UNTRUSTED_INPUT, verb
            assert not of_pyroute2(modules), verb
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    modules = set(listing.read_text().split())
    assert "geodrop.daemon.reload" in modules
    assert of_pyroute2(modules), "or the commands would prove nothing"
    assert not modules & UNTRUSTED_INPUT


def of_pyroute2(modules: set[str]) -> set[str]:
    """Return the modules of pyroute2 among `modules`."""
    return {module for module in modules if module.split(".")[0] == "pyroute2"}


@contextlib.contextmanager
def running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon that has reported that it is ready; end it with the body."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        address = folder / "notify.sock"
        told.bind(str(address))
        told.settimeout(TIMEOUT)
        process = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": str(address)})
        try:
            while b"READY=1" not in told.recv(1 << 16):
                pass
            yield process
        finally:
            process.kill()
            process.wait()
