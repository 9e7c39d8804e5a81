"""Short allow lists on nftables, which deny nearly all of the world, beside a deny list of ten countries."""

from __future__ import annotations

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
from tests.bench.report import Row, against, alternately, median
from tests.support.namespaces import namespaces, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.namespaces import Namespace

ROUNDS = 5
GAPS = 3
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


def rows(deny_list: Path, compiled: Callable[[Path], Path], database: Path, folder: Path) -> Iterator[Row]:
    """`nft_load_small_allow` and its memory beside those of the deny list, one load of every other form, the gap.

    `nft_gap_small_allow` is how long a flush leaves nothing in force until the daemon has repaired it, beside the
    kernel's own time for that load.
    """
    small = POLICY.format(ONLY.format("DE"))
    allow_list = compiled(_written(folder, "allow_de", small))
    with namespaces("small") as [netns], netns.entered():
        ours, theirs = alternately(ROUNDS, partial(_load, netns, allow_list), partial(_load, netns, deny_list))
        yield against("nft_load_small_allow", median(ours), "s", "the deny list of ten countries", median(theirs))
        ours, theirs = alternately(ROUNDS, partial(_memory, netns, allow_list), partial(_memory, netns, deny_list))
        yield against("nft_kernel_small_allow", median(ours), "MB", "the deny list of ten countries", median(theirs))
        for name, body in FORMS.items():
            text = POLICY.format(body)
            if name == "catch_all":
                text = text.replace("    match: {ports: {tcp: [443]}}\n", "")
            ruleset = compiled(_written(folder, name, text))
            ours, theirs = alternately(1, partial(_load, netns, ruleset), partial(_load, netns, deny_list))
            yield against(f"nft_load_{name}", ours[0], "s", "the deny list of ten countries", theirs[0])
        _, kernel = zip(*(_kernel(netns, allow_list) for _ in range(ROUNDS)), strict=True)
    (folder / "gap").mkdir()
    with host(folder / "gap", "nftables", database, small):
        gaps = [_gap(repaired) for repaired in range(1, GAPS + 1)]
    yield against("nft_gap_small_allow", median(gaps), "s", "the kernel's own time for that load", median(kernel))


def _written(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text, encoding="ascii")
    return file


def _load(netns: Namespace, ruleset: Path) -> float:
    """From the file to the verdicts in force, read back."""
    netns.run("nft", "flush", "ruleset")
    return timed(lambda: NftablesEngine().apply(Ruleset.open(ruleset), 1, [INTERFACE]))


def _kernel(netns: Namespace, ruleset: Path) -> tuple[float, float]:
    netns.run("nft", "flush", "ruleset")
    return load(Ruleset.open(ruleset))


def _memory(netns: Namespace, ruleset: Path) -> float:
    """What the kernel takes for it, in MB of 10^6 bytes."""
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
    """Seconds from before a flush until packets are led to a generation again; returns once all of it is repaired."""
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
