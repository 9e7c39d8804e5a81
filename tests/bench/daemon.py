# SPDX-License-Identifier: Apache-2.0
"""`geodrop run` in operation: how long a reload takes from command to answer, and how much memory the daemon takes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.disk import STOCK, stock
from tests.bench.nftables_load import timed
from tests.bench.report import against, alone, compared
from tests.support.bpffs import own_mounts
from tests.support.cli import Geodrop
from tests.support.daemons import daemon
from tests.support.namespaces import End, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.report import Row
    from tests.support.daemons import Daemon
    from tests.support.namespaces import Namespace

ROUNDS = 5
ENGINES = {"nft": "nftables", "xdp": "xdp"}
ROWS = (*(f"{change}_{engine}" for engine in ENGINES for change in ("reload", "flip", "exempt")), "daemon_memory")
EXEMPT_ROUNDS = 15
AGENT = """
source: {{policy: policy.yaml, databases: [{database}]}}
engine: {engine}
interfaces: [eth0]
state: {folder}/state
socket: {folder}/control.sock
"""
MOVED = "MX, "
"""A country of the allow list with address space of middling size, spelt as in the policy."""

PARTNERS = '\nlists:\n  partners: {prefixes: [203.0.112.0/24, 198.52.0.0/16, "2a00:1450::/32"]}\n'
IDLE_SECONDS = 0.3
EXEMPT = "203.0.113.9"


def rows(policy: Path, database: Path, folder: Path) -> Iterator[Row]:
    """`reload_ENGINE`: regions and prefixes change; `flip_ENGINE`: one country moves; `daemon_memory` after them.

    Each is the seconds from the start of the command to its end, everything read back, beside the script that an
    operator would run instead. Between measurements the daemon comes to rest, as it does between an operator's reloads.
    """
    script = stock(policy, database)
    text = policy.read_text(encoding="utf-8") + "\nlimits: {blast_radius: none}\n"
    folder.chmod(0o755)  # the compile child reads policies as user nobody
    flipped = text.replace(MOVED, "")
    changed = flipped.replace("[group:supported]", "[group:supported, list:partners]") + PARTNERS
    memory = []
    for short, engine in ENGINES.items():
        (folder / engine).mkdir()
        with namespaces("stock") as [other], host(folder / engine, engine, database, text) as (edited, running):
            versions = [partial(_reload, running, edited, version) for version in (flipped, changed, flipped, text)]
            scripted = partial(_scripted, running, other, script)
            one_country, prefixes, prefixes_again, one_country_again, by_script = compared(ROUNDS, *versions, scripted)
            exempt, asked = compared(EXEMPT_ROUNDS, partial(_exempt, running), partial(_status, running))
            memory.append(running.memory() / 1e6)
        changes, flips = [*prefixes, *prefixes_again], [*one_country, *one_country_again]
        yield against(f"reload_{short}", "s", STOCK, changes, [*by_script, *by_script])
        yield against(f"flip_{short}", "s", STOCK, flips, [*by_script, *by_script])
        yield against(f"exempt_{short}", "s", "geodrop status", exempt, asked)
    yield alone("daemon_memory", "MB", [max(memory)])


@contextlib.contextmanager
def host(folder: Path, engine: str, database: Path, policy: str) -> Iterator[tuple[Path, Daemon]]:
    """A daemon on one end of a veth pair, and the policy file that it reads."""
    with namespaces("sender", "host") as [sender, host]:
        join(End(sender, "eth0"), End(host, "eth0"))
        edited = folder / "policy.yaml"
        edited.write_text(policy, encoding="utf-8")
        (folder / "agent.yaml").write_text(
            AGENT.format(database=database, engine=engine, folder=folder), encoding="utf-8"
        )
        # Commands inherit the namespace: only the command itself is timed.
        with host.entered(), own_mounts() as entering:
            geodrop = Geodrop(folder, before=entering)
            try:
                with daemon(geodrop) as running:
                    yield edited, running
            finally:
                geodrop.good("unload")


def _reload(running: Daemon, edited: Path, policy: str) -> float:
    """Return the seconds that the command takes once the daemon rests; it must have changed something."""
    edited.write_text(policy, encoding="utf-8")
    _rest(running)
    command = [str(Path(sys.executable).with_name("geodrop")), "reload", "--json"]
    before = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - before
    if not json.loads(done.stdout)["changed"]:
        raise RuntimeError(f"nothing was changed: {done.stdout!r}")
    return seconds


def _exempt(running: Daemon) -> float:
    """Return the seconds from a command to its answer, once a source passes and that was read back and written down."""
    _rest(running)
    program = str(Path(sys.executable).with_name("geodrop"))
    seconds = timed(lambda: subprocess.run([program, "exempt", EXEMPT, "--for", "1h"], check=True, capture_output=True))
    subprocess.run([program, "exempt", EXEMPT, "--end"], check=True, capture_output=True)
    return seconds


def _status(running: Daemon) -> float:
    """Return the seconds that a command takes which changes nothing."""
    _rest(running)
    program = str(Path(sys.executable).with_name("geodrop"))
    return timed(lambda: subprocess.run([program, "status"], check=False, capture_output=True))


def _scripted(running: Daemon, netns: Namespace, script: Sequence[str]) -> float:
    """Return the seconds that the operator's script takes while the daemon rests."""
    _rest(running)
    return timed(lambda: netns.run(*script))


def _rest(running: Daemon) -> None:
    """Wait until the daemon and its waiting child have been idle for a while."""
    before = -1.0
    while before != (now := _cpu_seconds(running.process.pid)):
        before = now
        time.sleep(IDLE_SECONDS)


def _cpu_seconds(process: int) -> float:
    """Return the CPU time of a process and of its children, in seconds."""
    children = Path(f"/proc/{process}/task/{process}").parent.glob("*/children")
    pids = [process, *(int(pid) for file in children for pid in file.read_text(encoding="ascii").split())]
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
