# SPDX-License-Identifier: Apache-2.0
"""The cost of a packet from a random denied address on nftables, with generator and reception included."""

from __future__ import annotations

import contextlib
import random
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from geodrop.engine.api import Scope, Undo
from geodrop.engine.exempt import ExemptSource
from geodrop.linux.clock import monotonic
from geodrop.nftables.engine import NftablesEngine
from geodrop.ruleset.model import Ruleset
from geodrop.state.exemptions import MOST
from tests.bench.generator import SOURCES, Generator, receiving
from tests.bench.nft_text import denied_addresses, plain_sets, synthetic_map
from tests.bench.report import against, alternately, compared, undisturbed
from tests.support.namespaces import End, Namespace, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from ipaddress import IPv6Address
    from pathlib import Path

    from tests.bench.report import Row

ROUNDS = 60
FEW = 30
"""Sources that a host usually exempts at the most."""
DAY = 86_400 * 10**9
PACKETS = 50_000
INTERFACE = "server0"
PORT = 443
SMALLEST, *GROWTH = 100, 1_000, 10_000, 100_000
ROWS = (
    "nft_packet",
    "nft_packet_v6",
    "nft_packet_overlay",
    "nft_packet_overlay_v6",
    "nft_packet_window",
    "nft_packet_exempt",
    "nft_packet_exempt_most",
    "nft_packet_ramp",
    *(f"nft_packet_{count}" for count in GROWTH),
)


def rows(deny_list: Path) -> Iterator[Row]:
    """`nft_packet`, `nft_packet_v6`: against a plain interval set of the same denied space behind the same rules."""
    ruleset = Ruleset.open(deny_list)
    plain = plain_sets(ruleset, INTERFACE, PORT)
    for family, name in ((4, "nft_packet"), (6, "nft_packet_v6")):
        sources = denied_addresses(ruleset, family, SOURCES)
        with contextlib.ExitStack() as stack:
            ours, send_ours = stack.enter_context(path(sources))
            theirs, send_theirs = stack.enter_context(path(sources))
            with ours.entered():
                NftablesEngine().apply(ruleset, 1, [INTERFACE])
            theirs.nft(plain)
            mine, baseline = alternately(ROUNDS, send_ours, send_theirs)
            with ours.entered():
                dropped = sum(count.dropped[0] for count in NftablesEngine().counters())
        # If packets were not dropped, the bench would measure something else. A few are lost before the hook, when
        # the kernel hands reception to another thread and the veth's ring fills up.
        if dropped < 0.95 * ROUNDS * PACKETS:
            raise RuntimeError(f"{dropped} of {ROUNDS * PACKETS} packets were dropped")
        yield against(name, "ns", "plain interval set, same rules", *undisturbed([mine, baseline]))


def overlay_rows(before: Path, after: Path) -> Iterator[Row]:
    """`nft_packet_overlay`: the cost of a packet behind an overlay, as after a quick reload, until it is compacted."""
    old, new = Ruleset.open(before), Ruleset.open(after)
    for family, name in ((4, "nft_packet_overlay"), (6, "nft_packet_overlay_v6")):
        sources = denied_addresses(old, family, SOURCES)
        with contextlib.ExitStack() as stack:
            quick, send_quick = stack.enter_context(path(sources))
            whole, send_whole = stack.enter_context(path(sources))
            for netns, kept in ((quick, {old.digest: old}.get), (whole, None)):
                engine = NftablesEngine()
                with netns.entered():
                    engine.apply(old, 1, [INTERFACE])
                    with engine.staged(new, 2, kept) as staged:
                        staged.switch(Scope((INTERFACE,)))
                    if engine.is_overlay() != (kept is not None):
                        raise RuntimeError("an overlay, or whole, where it should be the other")
            rounds = compared(ROUNDS, send_quick, send_whole)
        yield against(name, "ns", "whole maps", *rounds)


def window_row(deny_list: Path) -> Iterator[Row]:
    """`nft_packet_window`: the cost of a packet while a load waits to be confirmed, beside the same packet outside."""
    ruleset = Ruleset.open(deny_list)
    sources = denied_addresses(ruleset, 4, SOURCES)
    with contextlib.ExitStack() as stack:
        waiting, send_waiting = stack.enter_context(path(sources))
        confirmed, send_confirmed = stack.enter_context(path(sources))
        for netns, undo in ((waiting, Undo(0, None)), (confirmed, None)):
            with netns.entered(), NftablesEngine().staged(ruleset, 1, undo=undo) as staged:
                staged.switch(Scope((INTERFACE,)), monotonic() + DAY)
        inside, outside = compared(ROUNDS, send_waiting, send_confirmed)
    yield against("nft_packet_window", "ns", "the same packet outside", inside, outside)


def drop_rows(deny_list: Path, ramped: Path) -> Iterator[Row]:
    """`nft_packet_exempt`, `nft_packet_ramp`: what a packet pays on the way to its drop, for the question whether its
    source is exempt, where a few are or as many as may be, and for the question whether its source is in the share.
    """
    plain = Ruleset.open(deny_list)
    sources = denied_addresses(plain, 4, SOURCES)
    for name, ruleset, exempt, baseline in (
        ("nft_packet_exempt", plain, most_exempt()[:FEW], "the same packet, nobody exempt"),
        ("nft_packet_exempt_most", plain, most_exempt(), "the same packet, nobody exempt"),
        ("nft_packet_ramp", Ruleset.open(ramped), [], "the same packet without a share"),
    ):
        with contextlib.ExitStack() as stack:
            asked, send_asked = stack.enter_context(path(sources))
            unasked, send_unasked = stack.enter_context(path(sources))
            with asked.entered():
                NftablesEngine(exempt=exempt).apply(ruleset, 1, [INTERFACE])
            with unasked.entered():
                NftablesEngine().apply(plain, 1, [INTERFACE])
            mine, other = compared(ROUNDS, send_asked, send_unasked)
        yield against(name, "ns", baseline, mine, other)


def most_exempt() -> list[ExemptSource]:
    """Return as many exempt sources as there may be, none of which is an address of the bench."""
    until = monotonic() + DAY
    return [ExemptSource(IPv4Network((0xE000_0000 + number, 32)), until) for number in range(MOST)]


def growth_rows() -> Iterator[Row]:
    """`nft_packet_N`: a verdict map of N intervals, against the smallest one."""
    with contextlib.ExitStack() as stack:
        smallest, *larger = compared(ROUNDS, *(_grown(count, stack) for count in (SMALLEST, *GROWTH)))
    for count, mine in zip(GROWTH, larger, strict=True):
        yield against(f"nft_packet_{count}", "ns", f"{SMALLEST} intervals", mine, smallest)


def _grown(count: int, stack: contextlib.ExitStack) -> Callable[[], float]:
    """Return a function that sends packets to a map of this many intervals."""
    rng = random.Random(count)
    step = (1 << 30) // count
    ranges = [(start, start + step // 2) for start in range(1 << 24, 1 << 30, step)]
    netns, send = stack.enter_context(path([IPv4Address(rng.randint(*rng.choice(ranges))) for _ in range(SOURCES)]))
    netns.nft(synthetic_map(ranges, INTERFACE, PORT))
    return send


@contextlib.contextmanager
def path(
    sources: Sequence[IPv4Address | IPv6Address],
) -> Iterator[tuple[Namespace, Callable[[], float]]]:
    """Return a server namespace, and a function that sends PACKETS to it and returns nanoseconds per packet."""
    with namespaces("client", "server") as [client, server]:
        source, sink = End(client, "client0"), End(server, INTERFACE, ("198.41.0.1/24", "2a00::1/64"))
        join(source, sink)
        with receiving(sink), contextlib.closing(Generator(source, sink, sources, PORT)) as generator:
            yield server, lambda: generator.send(PACKETS) / PACKETS * 1e9
