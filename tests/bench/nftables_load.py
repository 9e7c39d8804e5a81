# SPDX-License-Identifier: Apache-2.0
"""Loading by the nftables engine: against `nft -f`, against the kernel's share, in memory, and the switch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.engine.api import Scope
from geodrop.nftables import engine, render, transactions
from geodrop.nftables.netlink.connection import Connection
from geodrop.nftables.netlink.wire import portions
from geodrop.nftables.switch import Switch
from geodrop.ruleset.model import Ruleset
from tests.bench.nft_text import verdict_maps
from tests.bench.report import against, alternately, undisturbed
from tests.support.namespaces import namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.report import Row

ROUNDS = 9
MEMORY_ROUNDS = 3
ROWS = ("nft_load", "nft_load_kernel", "nft_load_memory", "nft_switch")
BASELINE = "nft -f of the same maps"
INTERFACE = "eth0"
PORT = 443


class TimedConnection(Connection):
    """A connection that times the kernel: nf_tables runs a whole transaction inside sendmsg."""

    kernel_seconds = 0.0

    def _send(self, pieces: Sequence[bytes], what: str) -> None:
        before = time.perf_counter()
        super()._send(pieces, what)
        self.kernel_seconds += time.perf_counter() - before


def rows(deny_list: Path, folder: Path) -> Iterator[Row]:
    """`nft_load`, `nft_load_kernel`, `nft_load_memory`: a deny list, from the mapped ruleset to the kernel's answer."""
    text = folder / "same.nft"
    text.write_text(verdict_maps(Ruleset.open(deny_list), INTERFACE, PORT), encoding="ascii")
    kernel: list[float] = []
    with namespaces("load") as [netns], netns.entered():

        def ours() -> float:
            netns.run("nft", "flush", "ruleset")
            ruleset = Ruleset.open(deny_list)
            seconds, of_kernel = load(ruleset)
            kernel.append(of_kernel)
            return seconds

        def theirs() -> float:
            netns.run("nft", "flush", "ruleset")
            return timed(lambda: netns.run("nft", "-f", str(text)))

        mine, baseline = alternately(ROUNDS, ours, theirs)
        mine, baseline, part = undisturbed([mine, baseline, kernel])
        yield against("nft_load", "s", BASELINE, mine, baseline)
        yield against("nft_load_kernel", "s", "the kernel's part of it", mine, part)

        def flushed(memory: Callable[[], float]) -> Callable[[], float]:
            def measure() -> float:
                netns.run("nft", "flush", "ruleset")
                return memory()

            return measure

        memories = flushed(lambda: memory_of_load(deny_list)), flushed(lambda: memory_of_nft(text, folder))
        yield against("nft_load_memory", "MB", BASELINE, *alternately(MEMORY_ROUNDS, *memories))


def switch_rows(rulesets: Sequence[Path]) -> Iterator[Row]:
    """`nft_switch`: the one transaction that puts the next generation in force, beside the load that ends with it."""
    switches, loads = [], []
    with namespaces("switch") as [netns], netns.entered():
        nftables = engine.NftablesEngine()
        for number in range(1, ROUNDS + 2):
            ruleset = Ruleset.open(rulesets[number % len(rulesets)])
            report = nftables.apply(ruleset, number, [INTERFACE])
            switches.append(report.seconds["switch"])
            loads.append(sum(report.seconds.values()))
    # The first switch makes the base chain; later ones replace its rules.
    yield against("nft_switch", "s", "all of such a load", *undisturbed([switches[1:], loads[1:]]))


def load(ruleset: Ruleset) -> tuple[float, float]:
    """Load into an empty namespace.

    Return seconds from the mapped ruleset to the kernel's answer, and the kernel's share.
    """
    before = time.perf_counter()
    with TimedConnection() as connection:
        new = render.build(ruleset, 1, [INTERFACE], int(time.time()))
        for requests in portions(transactions.fill([new], None, {}), transactions.TRANSACTION):
            connection.transaction(requests)
        connection.transaction(Switch(1, Scope((INTERFACE,))).requests(None, None))
        return time.perf_counter() - before, connection.kernel_seconds


def memory_of_load(ruleset: Path) -> float:
    """Return the peak memory of a process that loads, beyond the same process idle with its imports done; in MB."""
    code = (
        "import sys, time; from pathlib import Path; from tests.bench.nftables_load import load, peak\n"
        "from geodrop.ruleset.model import Ruleset\n"
        "Path('/proc/self/clear_refs').write_text('5'); idle = peak()\n"
        "load(Ruleset.open(sys.argv[1])); print(peak() - idle)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ruleset],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return float(done.stdout)


def memory_of_nft(text: Path, folder: Path) -> float:
    """Return the peak memory of `nft -f`, beyond that of nft with nothing to do; in MB."""
    idle = folder / "idle.nft"
    idle.write_text("", encoding="ascii")
    return _peak_of("nft", "-f", str(text)) - _peak_of("nft", "-f", str(idle))


def peak(process: int | str = "self") -> float:
    """Return a process's peak resident memory (VmHWM, with mapped files), in MB of 10^6 bytes; 0 after its end."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    before = time.perf_counter()
    action()
    return time.perf_counter() - before


def _peak_of(*command: str) -> float:
    """Return another command's peak memory. Its ru_maxrss would include this process before exec; VmHWM does not."""
    process = subprocess.Popen(command)
    highest = 0.0
    while process.poll() is None:
        highest = max(highest, peak(process.pid))
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}")
    return highest
