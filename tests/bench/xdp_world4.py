# SPDX-License-Identifier: Apache-2.0
"""The XDP engine with four times the world: load time should grow with it, lookups hardly, memory linearly."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.linux import libbpf
from geodrop.ruleset.model import Ruleset
from geodrop.xdp.program_set import ProgramSet
from tests.bench import xdp_programs as programs
from tests.bench.report import against, beyond, compared
from tests.bench.xdp import ROUNDS, on_one_cpu, published
from tests.support.bpffs import own_pins
from tests.support.engines import XdpEngine
from tests.support.namespaces import namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.report import Row

TIMES = 4
LOADS = 9
ROWS = (
    *(f"xdp_world4_lookup_v{family}{suffix}" for family in (4, 6) for suffix in ("", "_intervals")),
    "xdp_world4_load",
    "xdp_world4_memory",
)
BASELINE = "one world"


def rows(world: Path, grown: Path) -> Iterator[Row]:
    """Yield all rows, for a ruleset of the world and one of TIMES as many intervals."""
    files = world, grown
    yield from _lookup_rows([Ruleset.open(file) for file in files])
    with contextlib.ExitStack() as stack:
        [host] = stack.enter_context(namespaces("host"))
        stack.enter_context(host.entered())
        engines = []
        for number, file in enumerate(files):
            name = f"eth{number}"
            host.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"far{number}")
            engine = XdpEngine(pins=stack.enter_context(own_pins()))
            engine.apply(Ruleset.open(file), 1, [name])
            stack.callback(engine.remove)
            engines.append(engine)

        def load(number: int) -> Callable[[], float]:
            return lambda: published(engines[number], files[number], f"eth{number}")

        one, four = compared(LOADS, load(0), load(1))
        yield against("xdp_world4_load", "s", BASELINE, four, one)
        yield against("xdp_world4_memory", "MB", BASELINE, [_memory(engines[1])], [_memory(engines[0])])


def _lookup_rows(rulesets: list[Ruleset]) -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        benches = []
        for ruleset in rulesets:
            tables = programs.tables_map(ruleset)
            benches.append(stack.enter_context(contextlib.closing(programs.Bench(folder, tables))))
            os.close(tables)
        stack.enter_context(on_one_cpu())
        for family in (4, 6):
            for suffix, by_size in (("", True), ("_intervals", False)):
                loops = [benches[0].loop(f"nothing{family}")]
                for bench, ruleset in zip(benches, rulesets, strict=True):
                    denied = programs.intervals(ruleset, family, denied=True)
                    bench.use(family, programs.sample(denied, by_size=by_size))
                    loops.append(bench.loop(f"tables{family}"))
                nothing, one, four = compared(ROUNDS, *loops)
                name = f"xdp_world4_lookup_v{family}{suffix}"
                yield against(name, "ns", BASELINE, beyond(four, nothing), beyond(one, nothing))


def _memory(engine: XdpEngine) -> float:
    with ProgramSet.open(engine.pins.sets()[0]) as active:
        return active.sizes.memory(libbpf.possible_cpus()) / 1e6
