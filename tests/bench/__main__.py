# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every figure beside its baseline, in one run; the table goes to stdout and to build/bench.json.

At the end it prints which rows miss their targets (targets.toml). A miss is no failure, since the machine may be busy;
a target without a row is a failure. `python -m tests.bench NAME...` prints the rows of some groups only, by the names
in `GROUPS`, and writes no file.
"""

from __future__ import annotations

import compileall
import functools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.data import bundled_database
from tests.bench import (
    daemon,
    databases,
    disk,
    explain,
    nftables_load,
    nftables_packets,
    nftables_rules,
    plan,
    simulate,
    small_allow,
    under_load,
    xdp,
    xdp_world4,
)
from tests.bench.report import show, write
from tests.bench.targets import summary, targets
from tests.support.synthetic import synthetic_ruleset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.report import Row

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "deploy" / "policies"
DENY_LIST, ALLOW_LIST = POLICIES / "deny-list.yaml", POLICIES / "ai-api-allow-list.yaml"
HALF_THE_WORLD = """
version: 1
services:
  api:
    match: {{ports: {{tcp: [443]}}}}
    default: {}
    unknown: allow
    {}: [{}]
"""
NEARLY_ALL = "99.99%"
"""A share that is asked for each packet, and drops nearly all of them."""


class Inputs:
    """The bundled database, and rulesets compiled from it once each, in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = bundled_database(folder)
        self.compiled = functools.cache(self._compiled)

    def written(self, name: str, text: str) -> Path:
        """Return the ruleset of a policy given as text."""
        policy = self.folder / f"{name}.yaml"
        policy.write_text(text, encoding="utf-8")
        return self.compiled(policy)

    def moved(self) -> Path:
        """Return the ruleset of the allow list without one country."""
        return self.written("moved", ALLOW_LIST.read_text(encoding="utf-8").replace(daemon.MOVED, ""))

    def _compiled(self, policy: Path) -> Path:
        ruleset = self.folder / f"{policy.stem}.ruleset"
        command = [sys.executable, "-m", "geodrop", "compile", "--policy", str(policy)]
        command += ["--database", str(self.database), "-o", str(ruleset)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return ruleset


def load_rows(inputs: Inputs) -> Iterator[Row]:
    """Measure loading on nftables."""
    rulesets = [inputs.compiled(policy) for policy in (DENY_LIST, ALLOW_LIST)]
    yield from nftables_load.rows(rulesets[0], inputs.folder)
    yield from nftables_load.switch_rows(rulesets)


def small_rows(inputs: Inputs) -> Iterator[Row]:
    """Measure short allow lists on nftables."""
    yield from small_allow.rows(inputs.compiled(DENY_LIST), inputs.compiled, inputs.database, inputs.folder)


def packet_rows(inputs: Inputs) -> Iterator[Row]:
    """Measure packets on nftables."""
    yield from nftables_packets.rows(inputs.compiled(DENY_LIST))
    yield from nftables_packets.overlay_rows(inputs.compiled(ALLOW_LIST), inputs.moved())
    yield from nftables_packets.window_row(inputs.compiled(DENY_LIST))
    ramped = DENY_LIST.read_text(encoding="utf-8").replace(
        "    mode: enforce", f"    share: {NEARLY_ALL}\n    mode: enforce"
    )
    yield from nftables_packets.drop_rows(inputs.compiled(DENY_LIST), inputs.written("ramped", ramped))
    yield from nftables_packets.growth_rows()


def xdp_rows(inputs: Inputs) -> Iterator[Row]:
    """Measure the xdp engine."""
    # Half the world is denied, so that "the denied space" has the size of the world; the three differ only in verdicts.
    less, half = "continent:AF, continent:AS", "continent:AF, continent:AS, continent:SA"
    forms = {"half": ("allow", "deny", half), "less": ("allow", "deny", less), "swapped": ("deny", "allow", half)}
    worlds = [inputs.written(name, HALF_THE_WORLD.format(*verdicts)) for name, verdicts in forms.items()]
    ramped = inputs.written("half-ramped", f"{HALF_THE_WORLD.format(*forms['half'])}    share: {NEARLY_ALL}\n")
    yield from xdp.rows(worlds, ramped)
    grown = inputs.folder / "grown.ruleset"
    text = HALF_THE_WORLD.format(*forms["half"])
    grown.write_bytes(synthetic_ruleset(text, inputs.database, xdp_world4.TIMES))
    yield from xdp_world4.rows(worlds[0], grown)


def plan_rows(inputs: Inputs) -> Iterator[Row]:
    """Measure a plan."""
    loaded, moved = inputs.compiled(ALLOW_LIST), inputs.moved()
    yield from plan.rows(loaded, moved, inputs.folder / "moved.yaml", inputs.database, inputs.folder)


Group = tuple["Callable[[Inputs], Iterator[Row]]", tuple[str, ...]]

GROUPS: dict[str, Group] = {
    "database": (lambda inputs: databases.rows(inputs.database), databases.ROWS),
    "simulate": (
        lambda inputs: simulate.rows(inputs.compiled(DENY_LIST), inputs.database, inputs.folder),
        simulate.ROWS,
    ),
    "explain": (
        lambda inputs: explain.rows(inputs.compiled(DENY_LIST), inputs.database, inputs.folder),
        explain.ROWS,
    ),
    "load": (load_rows, nftables_load.ROWS),
    "small": (small_rows, small_allow.ROWS),
    "disk": (lambda inputs: disk.rows(ALLOW_LIST, inputs.database, inputs.folder), disk.ROWS),
    "packets": (packet_rows, nftables_packets.ROWS),
    "rules": (lambda _: nftables_rules.rows(), nftables_rules.ROWS),
    "xdp": (xdp_rows, (*xdp.ROWS, *xdp_world4.ROWS)),
    "plan": (plan_rows, plan.ROWS),
    "daemon": (lambda inputs: daemon.rows(ALLOW_LIST, inputs.database, inputs.folder), daemon.ROWS),
    "busy": (lambda inputs: under_load.rows(inputs.database, inputs.folder), under_load.ROWS),
}
"""The groups of rows that are measured together, in this order, and the names of their rows."""


def measure(names: list[str]) -> list[Row]:
    """Print the rows of some groups as they come; raises LookupError if their names are not the expected ones."""
    done: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="geodrop-bench-") as folder:
        Path(folder).chmod(0o755)  # the compile child reads policies as user nobody
        inputs = Inputs(Path(folder))
        for name in names:
            rows, expected = GROUPS[name]
            before = len(done)
            for row in rows(inputs):
                show(row)
                done.append(row)
            if {row.name for row in done[before:]} != set(expected):
                raise LookupError(f"the rows of {name} are not those of its ROWS")
    return done


def main() -> None:
    """Run the bench, print it, and write the file if all of it ran."""
    wanted = sys.argv[1:] or list(GROUPS)
    if unknown := set(wanted) - set(GROUPS):
        sys.exit(f"no group of rows: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    # A host has the bytecode that pip wrote. If the environment forbids writing it, every run would compile it again.
    compileall.compile_dir(ROOT / "agent" / "geodrop", quiet=2)
    done = measure(wanted)
    names = {row.name for row in done}
    held = targets()
    if wanted == list(GROUPS):
        write(done, ROOT / "build" / "bench.json")
    else:
        held = [target for target in held if target.name in names]
    for said in summary(done, held):
        print(said)


if __name__ == "__main__":
    main()
