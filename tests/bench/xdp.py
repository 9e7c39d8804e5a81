"""The XDP engine against LPM tries, a bare drop and nft: lookups, packets, publishing, memory."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.linux import libbpf
from geodrop.nftables.engine import NftablesEngine
from geodrop.ruleset.model import Ruleset
from geodrop.xdp import layout as lay
from geodrop.xdp import links
from geodrop.xdp.program_set import ProgramSet
from tests.bench import xdp_programs as programs
from tests.bench.generator import Generator
from tests.bench.report import Row, against, alternately, median, undisturbed
from tests.support.bpffs import own_mounts, own_pins
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUNDS = 33
PORT = 443
FLIPS = 21
LIVE_FRAMES = 50_000
LIVE_ROUNDS = 24

# The command in a process of its own, since a process never forgets its peak, nor that of the one it comes from; prints
# VmHWM in kB.
LOAD_ALONE = """
import sys
from geodrop.cli.main import main
code = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""


def rows(files: Sequence[Path]) -> Iterator[Row]:
    """All rows. Three rulesets of one world whose verdicts differ; the first service's port is 443.

    The third accepts what the first drops.
    """
    rulesets = [Ruleset.open(file) for file in files]
    with tempfile.TemporaryDirectory() as folder, own_pins() as pins, namespaces("sender", "host") as [sender, host]:
        ends = End(sender, "eth0"), End(host, "eth0")
        join(*ends)
        tables = programs.tables_map(rulesets[0])
        bench = programs.Bench(Path(folder), tables)
        every = {family: programs.intervals(rulesets[0], family, denied=False) for family in (4, 6)}
        bench.fill_tries(every)
        with contextlib.closing(bench), host.entered():
            engine = XdpEngine(pins=pins)
            engine.apply(rulesets[0], 1, ["eth0"])
            program = libbpf.get(str(pins.sets()[0] / "geodrop"))
            with on_one_cpu():
                for family in (4, 6):
                    yield from _lookup_rows(bench, rulesets[0], family)
                    dropped = _random(rulesets[0], family, denied=True)
                    yield _packet_row(bench, f"xdp_packet_v{family}", dropped, family, program)
                    accepted = _random(rulesets[0], family, denied=False)
                    yield _packet_row(bench, f"xdp_accept_v{family}_elsewhere", accepted, family, program)
                engine.apply(rulesets[2], 2, ["eth0"])
                for family in (4, 6):
                    dropped = _random(rulesets[0], family, denied=True)
                    yield _packet_row(bench, f"xdp_accept_v{family}", dropped, family, program)
            os.close(program)
            engine.remove()
            yield from _live_rows(bench, rulesets[0], ends, engine)
            yield from _change_rows(engine, rulesets, files)
        os.close(tables)


def _lookup_rows(bench: programs.Bench, ruleset: Ruleset, family: int) -> Iterator[Row]:
    denied = programs.intervals(ruleset, family, denied=True)
    # Random addresses of the denied space; and, harder, of random intervals of it, which are mostly small.
    for suffix, by_size in (("", True), ("_intervals", False)):
        bench.use(family, programs.sample(denied, by_size=by_size))
        loops = [bench.loop(name) for name in (f"nothing{family}", f"tables{family}", f"trie{family}")]
        nothing, ours, trie = map(median, undisturbed(alternately(ROUNDS, *loops)))
        yield against(f"xdp_lookup_v{family}{suffix}", ours - nothing, "ns", "LPM trie", trie - nothing)


def _random(ruleset: Ruleset, family: int, *, denied: bool) -> list[int]:
    """Random addresses of the space that is denied, or of that which is accepted and no special one."""
    wanted = [
        one
        for one in programs.intervals(ruleset, family, denied=denied)
        if denied or (ruleset.row(one[2], 0).rung == "default" and ruleset.row(one[2], 0).verdict == "accept")
    ]
    return programs.sample(wanted, by_size=True)


def _packet_row(bench: programs.Bench, name: str, addresses: list[int], family: int, program: int) -> Row:
    """What a packet costs beyond one that is parsed and dropped."""
    bench.use(family, addresses)
    some = (bench.program("parse_drop"), program, bench.program("trie_drop"))
    measured = alternately(ROUNDS, *(bench.packet(one, family, _frame(family)) for one in some))
    parse, ours, trie = map(median, undisturbed(measured))
    return against(name, ours - parse, "ns", "LPM trie", trie - parse)


def _live_rows(bench: programs.Bench, ruleset: Ruleset, ends: tuple[End, End], engine: XdpEngine) -> Iterator[Row]:
    """Frames through a veth: packets a second, given as nanoseconds a packet."""
    engine.apply(ruleset, 3, ["eth0"])
    ours = libbpf.get(str(engine.pins.sets()[0] / "geodrop"))
    for index in engine.pins.link_indexes():
        links.detach(engine.pins, index)
    # Only frames that an XDP program passes on come to nft, so its rules can stay for all.
    nft = NftablesEngine()
    nft.apply(ruleset, 1, ["eth0"])
    attached = [ours, *map(bench.program, ("bare_drop", "trie_drop", "pass_all"))]
    for family in (4, 6):
        denied = _random(ruleset, family, denied=True)
        addresses = [ip_address(one) if family == 4 else ip_address(one.to_bytes(16, "big")) for one in denied]
        with contextlib.closing(Generator(*ends, addresses, PORT)) as generator, on_one_cpu():
            sent = alternately(LIVE_ROUNDS, *(_sent(generator, program) for program in attached))
        mine, bare, trie, through_nft = map(median, undisturbed(sent))
        yield against(f"xdp_drop_v{family}", mine, "ns", "bare XDP_DROP", bare)
        suffix = "" if family == 4 else "_v6"
        yield against(f"xdp_vs_nft{suffix}", mine, "ns", "nftables engine", through_nft)
        yield against(f"xdp_vs_lpm{suffix}", mine, "ns", "LPM tries", trie)
    nft.remove()
    os.close(ours)
    engine.remove()


def _change_rows(engine: XdpEngine, rulesets: Sequence[Ruleset], files: Sequence[Path]) -> Iterator[Row]:
    engine.apply(rulesets[0], 4, ["eth0"])
    flip = []
    for number in range(FLIPS):
        file = files[(number + 1) % 2]
        report = engine.apply(Ruleset.open(file), engine.observe().generation + 1, ["eth0"])
        flip.append(report.seconds["fill"] + report.seconds["switch"])
    yield Row("xdp_publish", median([published(engine, files[number % 2], "eth0") for number in range(7)]), "s")
    yield Row("xdp_flip", median(undisturbed([flip])[0]), "s")
    with ProgramSet.open(engine.pins.sets()[0]) as active:
        yield Row("xdp_memory", active.sizes.memory(libbpf.possible_cpus()) / 1e6, "MB")
    engine.remove()
    yield Row("xdp_load_memory", memory_of_load(files[0]), "MB")


def published(engine: XdpEngine, file: Path, interface: str) -> float:
    """Seconds for the whole world of a ruleset, from the mapped file to checked and switched."""
    _forget_tables(engine)
    number = engine.observe().generation + 1
    started = time.perf_counter()
    report = engine.apply(Ruleset.open(file), number, [interface])
    return time.perf_counter() - started - report.seconds["delete"]


def _forget_tables(engine: XdpEngine) -> None:
    """A policy that names no tables shares none: the next one writes its own."""
    with ProgramSet.open(engine.pins.sets()[0]) as active:
        fd = libbpf.get(str(active.folder / f"policy{active.word().policy}"))
    with libbpf.map_memory(fd, lay.POLICY_BYTES) as memory:
        at = lay.PolicyLayout.tables_digest.offset
        memory[at : at + 32] = bytes(32)
    os.close(fd)


def memory_of_load(ruleset: Path) -> float:
    """Peak memory of `geodrop load --engine xdp`, in MB."""
    with tempfile.TemporaryDirectory() as folder, own_mounts() as entering:
        config = Path(folder) / "agent.yaml"
        config.write_text(f"state: {folder}/state\n", encoding="ascii")
        arguments = ["--config", str(config), "load", str(ruleset), "--engine", "xdp", "--interface", "eth0"]
        command = [*entering, sys.executable, "-c", LOAD_ALONE, *arguments]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(said.splitlines()[-1]) * 1024 / 1e6


@contextlib.contextmanager
def on_one_cpu() -> Iterator[None]:
    """This process, and so the programs that it test-runs, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _sent(generator: Generator, program: int) -> Callable[[], float]:
    """Nanoseconds a packet with a program attached. A veth only receives redirected frames with one attached."""

    def measure() -> float:
        link = libbpf.create_link(program, socket.if_nametoindex("eth0"), libbpf.NATIVE)
        try:
            generator.send(LIVE_FRAMES)  # what was measured before has emptied the cache
            return generator.send(LIVE_FRAMES) / LIVE_FRAMES * 1e9
        finally:
            os.close(link)

    return measure


def _frame(family: int) -> bytes:
    """A TCP opening to the service's port."""
    tcp = struct.pack("!HHIIBBHHH", 40_000, PORT, 1, 0, 5 << 4, 0x02, 1024, 0, 0)
    if family == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, bytes(4), bytes((198, 41, 0, 1)))
        return bytes(12) + b"\x08\x00" + header + tcp
    header = struct.pack("!IHBB16s16s", 6 << 28, 20, 6, 64, bytes(16), ip_address("2a00::1").packed)
    return bytes(12) + b"\x86\xdd" + header + tcp
