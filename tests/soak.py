# SPDX-License-Identifier: Apache-2.0
"""`make soak`: reload again and again between two policies, on both engines at once; then check what is left behind.

The databases are small, so that mostly the daemon's own work is repeated and not the compiler's. These may not grow:
descriptors, child processes, our objects in the kernel (a BPF object lives by a pin, a link or a descriptor), and files
in the state directory. Memory may grow by less than a kilobyte per reload.

Memory means memory that the daemon has allocated (PSS, anonymous and shared). Mapped files do not count: each either
holds a descriptor, or is a library, whose share in PSS varies by megabytes with the number of processes that map it.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.control.client import ask
from tests.support.bpffs import own_mounts
from tests.support.cli import TIMEOUT, Geodrop
from tests.support.daemons import daemon
from tests.support.databases import country, write_database
from tests.support.namespaces import End, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.daemons import Daemon

MAX_GROWTH = 1000.0
"""Bytes of memory per reload."""

OWN = "Pss_Anon", "Pss_Shmem"

WARM_UP = 30, 0.05
"""The least number of warm-up reloads, and their least share of all: then all reused memory has been allocated."""

SAMPLES = 400

LOOKS = 10
"""Times to count descriptors; the least counts, since the daemon's own checks open some for a moment."""

POLICY = """
version: 1
services:
  api: {{match: {{ports: {{tcp: [443]}}}}, default: allow, unknown: allow, deny: [{deny}]}}
"""
POLICIES = (POLICY.format(deny="CN"), POLICY.format(deny="CN, RU, 9.0.0.0/24"))

AGENT = """
source: {{policy: policy.yaml, databases: [country.mmdb]}}
interfaces: ["eth*"]
state: {folder}/state
socket: {folder}/control.sock
keep: {{rulesets: 1h}}
"""


@dataclass(frozen=True)
class Things:
    """A snapshot: numbers of descriptors and child processes, names in the kernel and of files."""

    descriptors: int
    children: int
    kernel: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Soaked:
    """`samples` are pairs of reloads done and bytes of memory then; `rate` is in reloads per second."""

    before: Things
    after: Things
    samples: Sequence[tuple[float, float]]
    rate: float

    def complaints(self) -> list[str]:
        """Describe what has grown, one line each, apart from memory."""
        found = []
        for name in ("descriptors", "children"):
            before, after = getattr(self.before, name), getattr(self.after, name)
            if after > before:
                found.append(f"{name}: {before} before, {after} after")
        for name in ("kernel", "files"):
            before, after = set(getattr(self.before, name)), set(getattr(self.after, name))
            found += [f"{name}: {one} was not there before" for one in sorted(after - before)]
        return found


def soak(folder: Path, count: int) -> Soaked:
    """Reload this many times, an even number, after a warm-up."""
    records = {f"{number}.0.0.0/24": country(code) for number, code in enumerate(("CN", "RU", "US"), start=1)}
    write_database(folder / "country.mmdb", records)
    (folder / "agent.yaml").write_text(AGENT.format(folder=folder), encoding="utf-8")
    (folder / "policy.yaml").write_text(POLICIES[0], encoding="utf-8")
    with namespaces("sender", "soak") as [sender, host], host.entered(), own_mounts() as mounts:
        join(End(sender, "eth0"), End(host, "eth0"))
        geodrop = Geodrop(folder, before=mounts)
        try:
            with daemon(geodrop) as running:
                at_least, share = WARM_UP
                _reload(folder, 2 * (max(at_least, round(count * share)) // 2))
                before = _things(geodrop, running)
                samples, began = [], time.monotonic()
                step = max(count // SAMPLES, 1)
                for done in range(0, count, step):
                    samples.append((done, running.memory(*OWN)))
                    _reload(folder, min(step, count - done), start=done)
                rate = count / (time.monotonic() - began)
                return Soaked(before, _things(geodrop, running), samples, rate)
        finally:
            geodrop.good("unload")


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the best-fitting line (least squares)."""
    middle_x = sum(x for x, _ in samples) / len(samples)
    middle_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - middle_x) ** 2 for x, _ in samples)
    return sum((x - middle_x) * (y - middle_y) for x, y in samples) / spread


def usual_slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the median slope between neighbours: a single jump, such as a first audit, does not count."""
    return statistics.median((y - before_y) / (x - before_x) for (before_x, before_y), (x, y) in pairwise(samples))


def _reload(folder: Path, count: int, start: int = 0) -> None:
    """Return two policies; each reload must change what is in force."""
    for number in range(start, start + count):
        (folder / "policy.yaml").write_text(POLICIES[1 - number % 2], encoding="utf-8")
        answer = ask("reload")
        assert answer is not None
        assert answer["data"]["changed"], answer


def _things(geodrop: Geodrop, running: Daemon) -> Things:
    # The compile child that waits for the next reload is started soon after the previous reload.
    until = time.monotonic() + TIMEOUT
    while not running.children() and time.monotonic() < until:
        time.sleep(0.1)
    looks = []
    for _ in range(LOOKS):
        time.sleep(0.1)
        looks.append((running.descriptors(), running.children()))
    state = geodrop.folder / "state"
    return Things(
        min(descriptors for descriptors, _ in looks),
        min(children for _, children in looks),
        (*_in_nftables(), *_pins(geodrop)),
        tuple(sorted(str(path.relative_to(state)) for path in state.rglob("*"))),
    )


def _in_nftables() -> list[str]:
    listed = subprocess.run(["nft", "-j", "-t", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    objects = [next(iter(item.items())) for item in json.loads(listed)["nftables"]]
    return sorted(f"{kind} {_undated(found['name'])}" for kind, found in objects if "name" in found)


def _pins(geodrop: Geodrop) -> list[str]:
    command = [*geodrop.before, "find", "/sys/fs/bpf/", "-printf", "pin %P\\n"]
    return sorted(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def _undated(name: str) -> str:
    """Return a name without its generation number."""
    return re.sub(r"^g\d+", "g", name)


def main() -> int:
    """Soak, and print the result."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="geodrop-soak-") as name:
        folder = Path(name)
        # The compile child reads the folder as user nobody.
        folder.chmod(0o755)
        done = soak(folder, count)
    growth = slope(done.samples)
    print(f"{count:,} reloads, {done.rate:.1f} a second; memory: {growth:+,.0f} bytes a reload")
    complaints = done.complaints()
    if growth > MAX_GROWTH:
        complaints.append(f"memory: {MAX_GROWTH:,.0f} bytes a reload is the most")
    print("\n".join(complaints) or "nothing was left behind")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
