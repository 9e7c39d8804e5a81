"""`make bench`: every figure beside its baseline, in one run; the table goes to stdout and to build/bench.json.

`python -m tests.bench xdp` prints only those of the xdp engine, `daemon` only those of reloads, `small` only those
of short allow lists; none of them writes a file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.data import bundled_database
from tests.bench import daemon, databases, nftables_load, nftables_packets, small_allow, under_load, xdp, xdp_world4
from tests.bench.report import show, write
from tests.support.synthetic import synthetic_ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.report import Row

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "deploy" / "policies"
HALF_THE_WORLD = """
version: 1
services:
  api:
    match: {{ports: {{tcp: [443]}}}}
    default: {}
    unknown: allow
    {}: [{}]
"""


def rows(folder: Path) -> Iterator[Row]:
    """All figures, on the bundled database."""
    database = bundled_database(folder)
    deny_list, allow_list = POLICIES / "deny-list.yaml", POLICIES / "ai-api-allow-list.yaml"
    rulesets = [compiled(policy, database, folder) for policy in (deny_list, allow_list)]
    yield from databases.rows(database)
    yield from nftables_load.rows(rulesets[0], folder)
    yield from nftables_load.switch_rows(rulesets)
    yield from small_rows(folder)
    yield from nftables_load.disk_rows(allow_list, database, folder)
    yield from nftables_packets.rows(rulesets[0])
    yield from nftables_packets.thin_rows(rulesets[1], moved_ruleset(allow_list, database, folder))
    yield from nftables_packets.growth_rows()
    yield from xdp_rows(folder)
    yield from daemon_rows(folder)


def small_rows(folder: Path) -> Iterator[Row]:
    """Those of short allow lists."""
    database = bundled_database(folder)
    deny_list = compiled(POLICIES / "deny-list.yaml", database, folder)
    yield from small_allow.rows(deny_list, lambda policy: compiled(policy, database, folder), database, folder)


def daemon_rows(folder: Path) -> Iterator[Row]:
    """Those of the daemon."""
    database = bundled_database(folder)
    yield from daemon.rows(POLICIES / "ai-api-allow-list.yaml", database, folder)
    yield from under_load.rows(database, folder)


def xdp_rows(folder: Path) -> Iterator[Row]:
    """Those of the xdp engine."""
    database = bundled_database(folder)
    # Half the world is denied, so that "the denied space" is of world size; the three differ in verdicts only.
    worlds, less, half = [], "continent:AF, continent:AS", "continent:AF, continent:AS, continent:SA"
    for name, *verdicts in (
        ("half", "allow", "deny", half),
        ("less", "allow", "deny", less),
        ("swapped", "deny", "allow", half),
    ):
        policy = folder / f"{name}.yaml"
        policy.write_text(HALF_THE_WORLD.format(*verdicts), encoding="utf-8")
        worlds.append(compiled(policy, database, folder))
    yield from xdp.rows(worlds)
    grown = folder / "grown.ruleset"
    grown.write_bytes(synthetic_ruleset((folder / "half.yaml").read_text(), database, xdp_world4.TIMES))
    yield from xdp_world4.rows(worlds[0], grown)


def moved_ruleset(policy: Path, database: Path, folder: Path) -> Path:
    """The ruleset of a policy with one country less."""
    moved = folder / "moved.yaml"
    moved.write_text(policy.read_text(encoding="utf-8").replace(daemon.MOVED, ""), encoding="utf-8")
    return compiled(moved, database, folder)


def compiled(policy: Path, database: Path, folder: Path, *options: str) -> Path:
    """The ruleset of a policy."""
    ruleset = folder / f"{policy.stem}.ruleset"
    command = [sys.executable, "-m", "geodrop", "compile", "--policy", str(policy)]
    command += ["--database", str(database), "-o", str(ruleset), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return ruleset


def main() -> None:
    """Run, print and write."""
    done = []
    wanted = {"xdp": xdp_rows, "daemon": daemon_rows, "small": small_rows}.get("".join(sys.argv[1:]), rows)
    with tempfile.TemporaryDirectory(prefix="geodrop-bench-") as folder:
        for row in wanted(Path(folder)):
            show(row)
            done.append(row)
    if wanted is rows:
        write(done, ROOT / "build" / "bench.json")


if __name__ == "__main__":
    main()
