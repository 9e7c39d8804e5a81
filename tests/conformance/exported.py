# SPDX-License-Identifier: Apache-2.0
"""The exported text as an engine: `geodrop export --format nft`, loaded by stock nft and by nothing else."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.engine.api import ApplyReport, Interface, Observed, Total
from geodrop.nftables import names
from geodrop.nftables.export import TABLE, nft
from tests.support.namespaces import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.engine.api import Difference, KernelVerdict, Undo
    from geodrop.engine.exempt import ExemptSource
    from geodrop.ruleset.model import Ruleset


class ExportedEngine:
    """The part of engine.api.Engine that stock nft offers, in the network namespace of the calling thread."""

    name = "exported"

    def __init__(self) -> None:
        self._loaded = Observed()
        self.exempt: Sequence[ExemptSource] = ()

    def probe(self) -> None:
        """Do nothing: only nft is needed."""
        run("nft", "list", "tables")

    def observe(self) -> Observed:
        """Return what was loaded."""
        return self._loaded

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Load the text, as any user would."""
        run("nft", "-f", "-", stdin="".join(nft(ruleset, interfaces)))
        for one in self.exempt:
            name = names.EXEMPT[one.network.version]
            run("nft", "add", "element", "inet", TABLE, name, f"{{ {one.network} timeout 1h }}")
        self._loaded = Observed(generation, ruleset.digest, tuple(Interface(name, self.name) for name in interfaces))
        return ApplyReport(generation)

    def verify(self, ruleset: Ruleset, *, full: bool = True, undo: Undo | None = None) -> list[Difference]:
        """Return nothing: stock nft cannot verify."""
        raise NotImplementedError

    def counters(self) -> list[Total]:
        """Return the table's named counters, whose names are those of the live table."""
        listing = json.loads(run("nft", "--json", "list", "counters", "table", "inet", TABLE))
        counts: dict[tuple[str, str | None, str], Total] = {}
        for found in (item["counter"] for item in listing["nftables"] if "counter" in item):
            name = names.counter(found["name"])
            assert name, found
            key = (name.service, name.label, name.family)
            count = counts.setdefault(key, Total(name.service, name.family, name.label))
            total = found["packets"], found["bytes"]
            counts[key] = replace(count, **{name.what: total})  # type: ignore[arg-type]  # names.counter checks it
        return list(counts.values())

    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Return nothing: stock nft cannot look addresses up."""
        raise NotImplementedError

    def remove(self) -> bool:
        """Delete the table, as the first lines of the text say."""
        done = subprocess.run(("nft", "delete", "table", "inet", TABLE), capture_output=True, check=False)
        return done.returncode == 0
