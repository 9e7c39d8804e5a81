# SPDX-License-Identifier: Apache-2.0
"""From policy and database on disk to the kernel, by two commands, beside a script that an operator would write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.policy.model import LineKind
from geodrop.policy.parse import load_policy
from tests.bench.nftables_load import timed
from tests.bench.report import against, compared
from tests.support.namespaces import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.report import Row

ROUNDS = 7
ROWS = "disk_to_kernel_nft", "disk_to_kernel_imports"
STOCK = "maxminddb, ipaddress, nft -f"
SCRIPT = Path(__file__).with_name("stock.py")


def rows(policy: Path, database: Path, folder: Path) -> Iterator[Row]:
    """`disk_to_kernel_nft`: both commands, from policy and database on disk to verified in the kernel.

    `disk_to_kernel_imports` is the part in which three interpreters start and import their modules: a process that
    waits with its imports done would save it.
    """
    config, ruleset = folder / "agent.yaml", folder / "disk.ruleset"
    config.write_text(f"state: {folder / 'state'}\n", encoding="ascii")
    geodrop = [sys.executable, "-m", "geodrop", "--config", str(config)]
    script = stock(policy, database)
    with namespaces("disk", "stock") as [netns, other]:

        def ours() -> None:
            netns.run(*geodrop, "compile", "--policy", str(policy), "--database", str(database), "-o", str(ruleset))
            netns.run(*geodrop, "load", str(ruleset), "--interface", "lo")

        def flushed() -> float:
            netns.run("nft", "flush", "ruleset")
            return timed(ours)

        def scripted() -> float:
            other.run("nft", "flush", "ruleset")
            return timed(lambda: other.run(*script))

        def imports() -> float:
            modules = ("geodrop.cli.compile", "geodrop.compile.child", "geodrop.cli.load")
            return timed(lambda: [netns.run(sys.executable, "-c", f"import {module}") for module in modules])

        mine, theirs, waiting = compared(ROUNDS, flushed, scripted, imports)
    yield against("disk_to_kernel_nft", "s", STOCK, mine, theirs)
    yield against("disk_to_kernel_imports", "s", "all of disk_to_kernel_nft", waiting, mine)


def stock(policy: Path, database: Path) -> list[str]:
    """Return the command that drops every country outside an allow list by stock tools; groups hold only countries."""
    parsed, _ = load_policy(policy.read_bytes(), policy.name, lambda _: b"")
    lines = (line for group in parsed.groups.values() for line in group)
    countries = sorted({line.name for line in lines if line.kind is LineKind.COUNTRY})
    return [sys.executable, str(SCRIPT), str(database), *countries]
