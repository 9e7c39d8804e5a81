# SPDX-License-Identifier: Apache-2.0
"""The XDP engine against LPM tries, a bare drop and nft: lookups, packets, publishing, memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.engine.api import Undo
from geodrop.linux import libbpf
from geodrop.linux.clock import monotonic
from geodrop.nftables.engine import NftablesEngine
from geodrop.ruleset.model import Ruleset
from geodrop.xdp import layout as lay
from geodrop.xdp import links
from geodrop.xdp.control import NOT_SET, Control
from geodrop.xdp.program_set import ProgramSet
from tests.bench import xdp_programs as programs
from tests.bench.generator import Generator
from tests.bench.nftables_packets import DAY, most_exempt
from tests.bench.report import ON_TOP_OF, against, alone, beyond, compared, undisturbed
from tests.support.bpffs import own_mounts, own_pins
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from geodrop.engine.exempt import ExemptSource
    from geodrop.xdp.control import ControlWord
    from tests.bench.report import Row

ROUNDS = 33
PORT = 443
FLIPS = 21
PUBLISHES = 9
LIVE_FRAMES = 50_000
LIVE_ROUNDS = 24
BEYOND = "beyond a bare drop"

OF_A_FAMILY = (
    "xdp_lookup_v{}",
    "xdp_lookup_v{}_intervals",
    "xdp_packet_v{}",
    "xdp_accept_v{}_elsewhere",
    "xdp_accept_v{}",
    "xdp_drop_v{}",
    "xdp_vs_nft_v{}",
    "xdp_vs_lpm_v{}",
)
ROWS = (
    *(name.format(family) for name in OF_A_FAMILY for family in (4, 6)),
    "xdp_packet_window",
    "xdp_packet_exempt",
    "xdp_accept_exempt",
    "xdp_packet_ramp",
    "xdp_publish",
    "xdp_flip",
    "xdp_memory",
    "xdp_load_memory",
)

# A separate process for the command, since a process never forgets its peak, nor its parent's before exec; prints
# VmHWM in kB.
LOAD_ALONE = """
import sys
from geodrop.cli.main import main
code = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""


def rows(files: Sequence[Path], ramped: Path) -> Iterator[Row]:
    """Yield all rows, from three rulesets of one world whose verdicts differ; the first service's port is 443.

    The third ruleset accepts what the first drops; `ramped` is the first with a share.
    """
    rulesets = [Ruleset.open(file) for file in files]
    with tempfile.TemporaryDirectory() as folder, own_pins() as pins, namespaces("sender", "host") as [sender, host]:
        ends = End(sender, "eth0"), End(host, "eth0")
        join(*ends)
        tables = programs.tables_map(rulesets[0])
        bench = programs.Bench(Path(folder), tables)
        every = {family: programs.intervals(rulesets[0], family, denied=False) for family in (4, 6)}
        bench.prepare_tries(every)
        bench.fill_tries()
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
                dropped, accepted = (_random(rulesets[0], 4, denied=denied) for denied in (True, False))
                yield _window_row(bench, engine, dropped, program)
                for name, addresses in (("xdp_packet_exempt", dropped), ("xdp_accept_exempt", accepted)):
                    yield _exempt_row(bench, engine, name, addresses, program)
                yield _ramp_row(bench, engine, rulesets[0], Ruleset.open(ramped), dropped, program)
                engine.apply(rulesets[2], 3, ["eth0"])
                for family in (4, 6):
                    dropped = _random(rulesets[0], family, denied=True)
                    yield _packet_row(bench, f"xdp_accept_v{family}", dropped, family, program)
            os.close(program)
            engine.remove()
            yield from _live_rows(bench, rulesets[0], ends, engine)
            yield from _change_rows(bench, engine, files)
        os.close(tables)


def _lookup_rows(bench: programs.Bench, ruleset: Ruleset, family: int) -> Iterator[Row]:
    denied = programs.intervals(ruleset, family, denied=True)
    # Random addresses of the denied space; and, harder, addresses in random intervals of it, which are mostly small.
    for suffix, by_size in (("", True), ("_intervals", False)):
        bench.use(family, programs.sample(denied, by_size=by_size))
        loops = [bench.loop(name) for name in (f"nothing{family}", f"tables{family}", f"trie{family}")]
        nothing, ours, trie = compared(ROUNDS, *loops)
        yield against(f"xdp_lookup_v{family}{suffix}", "ns", "LPM trie", beyond(ours, nothing), beyond(trie, nothing))


def _random(ruleset: Ruleset, family: int, *, denied: bool) -> list[int]:
    """Return random addresses of the denied space, or of the accepted space without special addresses."""
    wanted = [
        one
        for one in programs.intervals(ruleset, family, denied=denied)
        if denied or (ruleset.row(one[2], 0).rung == "default" and ruleset.row(one[2], 0).verdict == "accept")
    ]
    return programs.sample(wanted, by_size=True)


def _packet_row(bench: programs.Bench, name: str, addresses: list[int], family: int, program: int) -> Row:
    """Return what a packet costs beyond a bare drop."""
    bench.use(family, addresses)
    some = (bench.program("bare_drop"), program, bench.program("trie_drop"))
    bare, ours, trie = compared(ROUNDS, *(bench.packet(one, family, _frame(family)) for one in some))
    return against(name, "ns", f"LPM tries {BEYOND}", beyond(ours, bare), beyond(trie, bare))


def _window_row(bench: programs.Bench, engine: XdpEngine, addresses: list[int], program: int) -> Row:
    """Return what a packet costs while a load waits to be confirmed, beside the same packet outside."""
    bench.use(4, addresses)
    measure = bench.packet(program, 4, _frame(4))
    with ProgramSet.open(engine.pins.sets()[0]) as active:
        word = active.word()

        def under(control: Control) -> Callable[[], float]:
            def timed() -> float:
                active.publish(control)
                return measure()

            return timed

        inside, outside = compared(ROUNDS, under(Control(word, NOT_SET, word)), under(Control(word)))
        active.publish(Control(word))
    return against("xdp_packet_window", "ns", "the same packet outside", inside, outside)


def _exempt_row(bench: programs.Bench, engine: XdpEngine, name: str, addresses: list[int], program: int) -> Row:
    """Return what a packet costs while as many sources are exempt as may be, beside the same packet with none."""
    bench.use(4, addresses)
    measure = bench.packet(program, 4, _frame(4))

    def with_exempt(sources: Sequence[ExemptSource]) -> Callable[[], float]:
        def timed() -> float:
            engine.put_exempt(sources)
            return measure()

        return timed

    mine, other = compared(ROUNDS, with_exempt(most_exempt()), with_exempt([]))
    engine.put_exempt([])
    return against(name, "ns", "the same packet, nobody exempt", mine, other)


def _ramp_row(  # noqa: PLR0917 - two rulesets beside what each row needs
    bench: programs.Bench, engine: XdpEngine, plain: Ruleset, ramped: Ruleset, addresses: list[int], program: int
) -> Row:
    """Return what a packet costs that is dropped because it is in the share, beside the same packet without a share.

    Both generations are there, as in a window; the control word chooses.
    """
    bench.use(4, addresses)
    measure = bench.packet(program, 4, _frame(4))
    with engine.staged(ramped, 2, Undo(1, plain)) as staged:
        staged.switch(["eth0"], monotonic() + DAY)
    with ProgramSet.open(engine.pins.sets()[0]) as active:
        control = active.control()

        def under(word: ControlWord) -> Callable[[], float]:
            def timed() -> float:
                active.publish(Control(word))
                return measure()

            return timed

        mine, other = compared(ROUNDS, under(control.word), under(control.previous))
        active.publish(Control(control.previous))
    return against("xdp_packet_ramp", "ns", "the same packet without a share", mine, other)


def _live_rows(bench: programs.Bench, ruleset: Ruleset, ends: tuple[End, End], engine: XdpEngine) -> Iterator[Row]:
    """Return the nanoseconds that a frame through a veth costs beyond one that is dropped unread."""
    engine.apply(ruleset, 4, ["eth0"])
    program = libbpf.get(str(engine.pins.sets()[0] / "geodrop"))
    for index in engine.pins.link_indexes():
        links.detach(engine.pins, index)
    # Only frames that an XDP program passes reach nft, so its rules can stay in place for all measurements.
    nft = NftablesEngine()
    nft.apply(ruleset, 1, ["eth0"])
    attached = [program, *map(bench.program, ("bare_drop", "trie_drop", "pass_all"))]
    for family in (4, 6):
        denied = _random(ruleset, family, denied=True)
        addresses = [ip_address(one) if family == 4 else ip_address(one.to_bytes(16, "big")) for one in denied]
        with contextlib.closing(Generator(*ends, addresses, PORT)) as generator, on_one_cpu():
            ours, bare, *others = compared(LIVE_ROUNDS, *(_sent(generator, program) for program in attached))
        mine, trie, through_nft = (beyond(one, bare) for one in (ours, *others))
        yield against(f"xdp_drop_v{family}", "ns", f"{ON_TOP_OF}a bare drop", mine, bare)
        yield against(f"xdp_vs_nft_v{family}", "ns", f"nftables engine {BEYOND}", mine, through_nft)
        yield against(f"xdp_vs_lpm_v{family}", "ns", f"LPM tries {BEYOND}", mine, trie)
    nft.remove()
    os.close(program)
    engine.remove()


def _change_rows(bench: programs.Bench, engine: XdpEngine, files: Sequence[Path]) -> Iterator[Row]:
    engine.apply(Ruleset.open(files[0]), 5, ["eth0"])
    flip = []
    for number in range(FLIPS):
        file = files[(number + 1) % 2]
        report = engine.apply(Ruleset.open(file), engine.observe().generation + 1, ["eth0"])
        flip.append(report.seconds["fill"] + report.seconds["switch"])
    [flip] = undisturbed([flip])
    numbers = itertools.count()
    publish, tries = compared(PUBLISHES, lambda: published(engine, files[next(numbers) % 2], "eth0"), bench.fill_tries)
    yield against("xdp_publish", "s", "the same prefixes into LPM tries, by batch", publish, tries)
    # Not during publishing: memory that publishing frees is returned while the next change runs.
    yield against("xdp_flip", "s", "all of xdp_publish", flip, [statistics.median(publish)] * len(flip))
    with ProgramSet.open(engine.pins.sets()[0]) as active:
        yield alone("xdp_memory", "MB", [active.sizes.memory(libbpf.possible_cpus()) / 1e6])
    engine.remove()
    yield alone("xdp_load_memory", "MB", [memory_of_load(files[0])])


def published(engine: XdpEngine, file: Path, interface: str) -> float:
    """Return the seconds for a ruleset of the whole world, from the mapped file to checked and switched."""
    _forget_tables(engine)
    number = engine.observe().generation + 1
    started = time.perf_counter()
    report = engine.apply(Ruleset.open(file), number, [interface])
    return time.perf_counter() - started - report.seconds["delete"]


def _forget_tables(engine: XdpEngine) -> None:
    """Blank the digest of the tables in the policy: then the next policy shares no tables and writes its own."""
    with ProgramSet.open(engine.pins.sets()[0]) as active:
        fd = libbpf.get(str(active.folder / f"policy{active.word().policy}"))
    with libbpf.map_memory(fd, lay.POLICY_BYTES) as memory:
        at = lay.PolicyLayout.tables_digest.offset
        memory[at : at + 32] = bytes(32)
    os.close(fd)


def memory_of_load(ruleset: Path) -> float:
    """Return the peak memory of `geodrop load --engine xdp`, in MB."""
    with tempfile.TemporaryDirectory() as folder, own_mounts() as entering:
        config = Path(folder) / "agent.yaml"
        config.write_text(f"state: {folder}/state\n", encoding="ascii")
        arguments = ["--config", str(config), "load", str(ruleset), "--engine", "xdp", "--interface", "eth0"]
        command = [*entering, sys.executable, "-c", LOAD_ALONE, *arguments]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(said.splitlines()[-1]) * 1024 / 1e6


@contextlib.contextmanager
def on_one_cpu() -> Iterator[None]:
    """Keep this process, and so its test runs of programs, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _sent(generator: Generator, program: int) -> Callable[[], float]:
    """Return nanoseconds per packet with a program attached.

    A veth receives redirected frames only with one attached.
    """

    def measure() -> float:
        link = libbpf.create_link(program, socket.if_nametoindex("eth0"), libbpf.NATIVE)
        try:
            generator.send(LIVE_FRAMES)  # the previous measurement has emptied the cache
            return generator.send(LIVE_FRAMES) / LIVE_FRAMES * 1e9
        finally:
            os.close(link)

    return measure


def _frame(family: int) -> bytes:
    """Return a TCP SYN to the service's port."""
    tcp = struct.pack("!HHIIBBHHH", 40_000, PORT, 1, 0, 5 << 4, 0x02, 1024, 0, 0)
    if family == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, bytes(4), bytes((198, 41, 0, 1)))
        return bytes(12) + b"\x08\x00" + header + tcp
    header = struct.pack("!IHBB16s16s", 6 << 28, 20, 6, 64, bytes(16), ip_address("2a00::1").packed)
    return bytes(12) + b"\x86\xdd" + header + tcp
