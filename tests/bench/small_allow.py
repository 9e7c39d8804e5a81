# SPDX-License-Identifier: Apache-2.0
"""Short allow lists on nftables, which deny nearly all of the world, beside a deny list of ten countries."""

from __future__ import annotations

import itertools
import re
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.control.client import ask
from geodrop.nftables import readback
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink.connection import Connection
from geodrop.ruleset.model import Ruleset
from tests.bench.daemon import host
from tests.bench.nftables_load import INTERFACE, load, timed
from tests.bench.report import against, alternately, compared
from tests.support.namespaces import namespaces, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.bench.report import Row
    from tests.support.namespaces import Namespace

ROUNDS = 7
FORM_ROUNDS = 3
GAPS = 5
DENY_LIST = "the deny list of ten countries"
PATIENCE = 60.0

POLICY = """
version: 1
services:
  api:
    match: {{ports: {{tcp: [443]}}}}
    {}
"""
ONLY = "default: deny\n    unknown: deny\n    allow: [{}]"
ALL_BUT = "default: allow\n    unknown: allow\n    deny: [{}]"
SIXTEEN = "AT, BE, CH, DE, DK, ES, FI, FR, GB, IE, IT, LU, NL, NO, PT, SE"
FORMS = {
    "allow_16": ONLY.format(SIXTEEN),
    "allow_continent": ONLY.format('"continent:EU"'),
    "deny_one": ALL_BUT.format("US"),
    "deny_continent": ALL_BUT.format('"continent:AS"'),
    "catch_all": ONLY.format("DE"),
}
"""Policies by the name of their row, `nft_load_...`."""

ROWS = (
    "nft_load_small_allow",
    "nft_kernel_small_allow",
    *(f"nft_load_{name}" for name in FORMS),
    "nft_gap_small_allow",
)


def rows(deny_list: Path, compiled: Callable[[Path], Path], database: Path, folder: Path) -> Iterator[Row]:
    """`nft_load_small_allow` and its memory beside those of the deny list, one load of every other form, the gap.

    `nft_gap_small_allow` is how long nothing is in force after a flush, until the daemon has repaired it, beside the
    kernel's own time for that load.
    """
    small = POLICY.format(ONLY.format("DE"))
    allow_list = compiled(_written(folder, "allow_de", small))
    with namespaces("small") as [netns], netns.entered():
        loads = compared(ROUNDS, partial(_load, netns, allow_list), partial(_load, netns, deny_list))
        yield against("nft_load_small_allow", "s", DENY_LIST, *loads)
        memories = alternately(ROUNDS, partial(_memory, netns, allow_list), partial(_memory, netns, deny_list))
        yield against("nft_kernel_small_allow", "MB", DENY_LIST, *memories)
        for name, body in FORMS.items():
            text = POLICY.format(body)
            if name == "catch_all":
                text = text.replace("    match: {ports: {tcp: [443]}}\n", "")
            ruleset = compiled(_written(folder, name, text))
            loads = compared(FORM_ROUNDS, partial(_load, netns, ruleset), partial(_load, netns, deny_list))
            yield against(f"nft_load_{name}", "s", DENY_LIST, *loads)
    (folder / "gap").mkdir()
    repaired = itertools.count(1)
    with namespaces("kernel") as [netns], host(folder / "gap", "nftables", database, small):
        gaps = compared(GAPS, lambda: _gap(next(repaired)), partial(_kernel, netns, allow_list))
    yield against("nft_gap_small_allow", "s", "the kernel's own time for that load", *gaps)


def _written(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text, encoding="ascii")
    return file


def _load(netns: Namespace, ruleset: Path) -> float:
    """Return the seconds from the file to the verdicts in force, read back."""
    netns.run("nft", "flush", "ruleset")
    return timed(lambda: NftablesEngine().apply(Ruleset.open(ruleset), 1, [INTERFACE]))


def _kernel(netns: Namespace, ruleset: Path) -> float:
    netns.run("nft", "flush", "ruleset")
    with netns.entered():
        return load(Ruleset.open(ruleset))[1]


def _memory(netns: Namespace, ruleset: Path) -> float:
    """Return the kernel's memory for a load, in MB of 10^6 bytes."""
    netns.run("nft", "flush", "ruleset")
    before = _slab()
    NftablesEngine().apply(Ruleset.open(ruleset), 1, [INTERFACE])
    return _slab() - before


def _slab() -> float:
    found = re.search(r"Slab:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    if not found:
        raise RuntimeError("the kernel does not say what it takes")
    return int(found[1]) * 1024 / 1e6


def _gap(repaired: int) -> float:
    """Return the seconds from before a flush until a generation judges again.

    The function waits for the whole repair.
    """
    started = time.perf_counter()
    run("nft", "flush", "ruleset")
    with Connection() as connection:
        while readback.read_base(connection) is None:
            if time.perf_counter() - started > PATIENCE:
                raise RuntimeError("not repaired")
            time.sleep(0.001)
    gap = time.perf_counter() - started
    while True:
        answer = ask("status")
        status: Mapping[str, object] = answer["data"] if answer else {}
        if status.get("repaired") == repaired and status.get("change") is None:
            return gap
        if time.perf_counter() - started > PATIENCE:
            raise RuntimeError(f"not repaired: {status}")
        time.sleep(0.05)
