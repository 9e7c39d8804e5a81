# SPDX-License-Identifier: Apache-2.0
"""`make test-undo`: operators lock themselves out, the daemon is killed, and the kernel lets them in again.

Each lockout loads a policy that denies everybody, to be confirmed within ten seconds, and kills the daemon at one of
these seconds, so that nobody is left to undo it. Clients send a packet every few milliseconds all the while. What
counts is when each packet was sent: before the deadline none may pass, and from 100 ms after it every one has to.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.bpffs import own_mounts
from tests.support.cli import Geodrop
from tests.support.daemons import daemon
from tests.support.databases import country, write_database
from tests.support.namespaces import End, join, namespaces
from tests.system.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Iterable

ENGINES = ("nftables", "xdp")
SECONDS = 10
"""The shortest window that a command may ask for."""
WITHIN = 0.1
"""Seconds around the deadline in which the kernel may go back."""
AFTER = 0.5
"""Seconds after that in which every packet has to pass."""

CLIENT, ADDRESS = "1.2.3.4", "198.18.0.1"
POLICY = """
version: 1
never_drop: {{}}
limits: {{blast_radius: none}}
services:
  all: {{default: {word}, unknown: {word}}}
"""
AGENT = """
source: {{policy: policy.yaml, databases: [country.mmdb]}}
engine: {engine}
interfaces: [eth0]
state: {folder}/state
socket: {folder}/control.sock
"""


@dataclass(frozen=True)
class Lockout:
    """One lockout: the second of the window in which the daemon was killed, how many packets passed too early and how
    many did not pass later, and how many seconds after the deadline the first to pass was sent. The kernel was no later
    than that; a client that waits for its processor may be.
    """

    engine: str
    killed: int
    early: int
    missing: int
    late: float

    @property
    def is_good(self) -> bool:
        """Whether the kernel went back within WITHIN of the deadline, by every packet that was sent."""
        return not self.early and not self.missing


def lockouts(folder: Path, engine: str, seconds: Iterable[int]) -> list[Lockout]:
    """Lock an operator out once for each second, on a host of its own in new namespaces."""
    write_database(folder / "country.mmdb", {"1.0.0.0/8": country("CN")})
    (folder / "agent.yaml").write_text(AGENT.format(engine=engine, folder=folder), encoding="utf-8")
    with ExitStack() as stack:
        [edge, net] = stack.enter_context(namespaces("edge", "net"))
        ends = End(net, "eth0", ["198.18.0.2/24"]), End(edge, "eth0", [f"{ADDRESS}/24"])
        join(*ends)
        geodrop = Geodrop(folder, edge, stack.enter_context(own_mounts()))
        stack.callback(geodrop.run, "unload")
        return [_lockout(geodrop, ends, engine, second) for second in seconds]


def _lockout(geodrop: Geodrop, ends: tuple[End, End], engine: str, second: int) -> Lockout:
    policy = geodrop.folder / "policy.yaml"
    with Probes(*ends, [CLIENT], {4: ADDRESS}) as probes:
        policy.write_text(POLICY.format(word="allow"), encoding="utf-8")
        with daemon(geodrop) as running:
            geodrop.good("reload")
            policy.write_text(POLICY.format(word="deny"), encoding="utf-8")
            geodrop.good("reload", "--confirm-within", f"{SECONDS}s")
            began = time.monotonic()
            intent = json.loads((geodrop.folder / "state" / "intent.json").read_text(encoding="utf-8"))
            deadline = intent["confirm"]["deadline"] / 1e9
            # From here on the reload's own time counts, so that second 0 is right after the switch.
            time.sleep(max(0.0, deadline - SECONDS + second - time.monotonic()))
            running.end(signal.SIGKILL)
        time.sleep(max(0.0, deadline + WITHIN + AFTER - time.monotonic()))
        early = probes.outcome(CLIENT, began, deadline - WITHIN)
        around = probes.outcome(CLIENT, deadline - WITHIN, deadline + WITHIN + AFTER)
        after = probes.outcome(CLIENT, deadline + WITHIN, deadline + WITHIN + AFTER)
    assert early.sent, "the deadline was over before the reload"
    assert after.sent
    first = around.first_passed or float("inf")
    return Lockout(engine, second, early.passed, after.sent - after.passed, first - deadline)


def lanes(folder: Path, plan: Iterable[tuple[str, list[int]]]) -> list[Lockout]:
    """Lock out on several hosts at the same time: for each its engine, and the seconds."""
    with ThreadPoolExecutor() as pool:
        started = []
        for number, (engine, seconds) in enumerate(plan):
            place = folder / str(number)
            place.mkdir()
            started.append(pool.submit(lockouts, place, engine, seconds))
        return [one for lane in started for one in lane.result()]


def main() -> int:
    """Lock out, and print how late the kernel was."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    plan: list[tuple[str, list[int]]] = [(engine, []) for engine in ENGINES * 2]
    numbers = cycle(range(len(plan)))
    for number in range(count):
        plan[next(numbers)][1].append(number // len(ENGINES) % SECONDS)
    with tempfile.TemporaryDirectory(prefix="geodrop-lockouts-") as name:
        # The compile child reads the folder as user nobody.
        Path(name).chmod(0o755)
        done = lanes(Path(name), plan)
    for engine in ENGINES:
        late = sorted(one.late * 1e3 for one in done if one.engine == engine)
        middle = late[len(late) // 2]
        print(
            f"{engine}: {len(late)} lockouts; the first packet to pass was sent {late[0]:+.1f} to {late[-1]:+.1f} ms "
            f"from the deadline, {middle:+.1f} in the middle"
        )
    good = sum(one.is_good for one in done)
    print(f"{good} of {len(done)} undone within {WITHIN * 1e3:.0f} ms of the deadline")
    for bad in (one for one in done if not one.is_good):
        print(bad)
    return good < len(done)


if __name__ == "__main__":
    sys.exit(main())
