# SPDX-License-Identifier: Apache-2.0
"""Print the demo: plain text for an 80-column terminal, in colour only if the terminal shows it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from geodrop import columns, messages
from geodrop.columns import Column
from geodrop.demo.clients import TIMEOUT
from geodrop.demo.traffic import answered, strip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geodrop.demo.clients import ClientRequest
    from geodrop.demo.sources import Client
    from geodrop.demo.traffic import Period

WIDTH = 80
INDENT = "    "
LOAD_SHOWN = 4.0
"""The longest part of a load that a timeline shows, in seconds."""

FOLD = " \\\n    "
CONNECTIONS = (
    Column("  CLIENT", 11),
    Column("POLICY", 8),
    Column("IPv4 SOURCE", 17),
    Column("ANSWERED", 10),
    Column("IPv6 SOURCE", 22),
    Column("ANSWERED"),
)


def heading(text: str) -> None:
    """Print the heading of an act."""
    print(f"\n{messages.paint(text, messages.BOLD)}", flush=True)


def said(text: str) -> None:
    """Print a paragraph."""
    print(textwrap.fill(text, WIDTH, break_on_hyphens=False), flush=True)


def command(line: str, output: str) -> None:
    """Print a command and its whole output."""
    # A folded command line can still be pasted into a shell.
    folded = textwrap.wrap(line, WIDTH - 6, subsequent_indent=INDENT, break_on_hyphens=False)
    print(f"  $ {messages.paint(FOLD.join(folded), messages.BOLD)}")
    for text in output.splitlines():
        print(textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT * 2, break_on_hyphens=False))
    print(end="", flush=True)


def edit(lines: Iterable[str]) -> None:
    """Print the lines of a diff."""
    for line in lines:
        print(f"{INDENT}{messages.paint(line, messages.GREEN if line.startswith('+') else messages.RED)}")


def connections(clients: Sequence[Client], period: Period, requests: Sequence[ClientRequest]) -> None:
    """Print one line per client: the policy's verdict, and for both families how many requests were answered."""
    print(columns.heading(CONNECTIONS))
    inside = period.within(requests)
    for client in clients:
        verdict = next(period.verdicts[source] for source in client.sources.values())
        sources = [client.sources.get(family) for family in (4, 6)]
        cells = [cell for source in sources for cell in (source or "-", _answered(inside, source))]
        colour = messages.GREEN if verdict == "accept" else messages.RED
        print(messages.paint(columns.row(CONNECTIONS, (f"  {client.label}", verdict, *cells)), colour))
    print(end="", flush=True)


def _answered(requests: Sequence[ClientRequest], source: str | None) -> str:
    return "" if source is None else "{} of {}".format(*answered(requests, source))


def timeline(
    clients: Sequence[Client], before: Period, after: Period, requests: Sequence[ClientRequest], during: str
) -> None:
    """Print each request of the clients before, during and after a switch; `during` is the heading of its time."""
    # An unanswered request ends only after a timeout, so later ones may still be running: they are not shown.
    seconds = after.ended - after.began - TIMEOUT
    spans = {
        "before": (after.loading - min(seconds, after.loading - before.began), after.loading),
        # A slow load would not fit the line; the switch happens at its end.
        during: (max(after.loading, after.began - LOAD_SHOWN), after.began),
        "after": (after.began, after.began + seconds),
    }
    rows = {
        f"{client.label} IPv{family}": [strip(requests, source, *span) for span in spans.values()]
        for client in clients
        for family, source in client.sources.items()
    }
    widths = [max(map(len, column)) for column in zip(spans, *rows.values(), strict=True)]
    table = [Column(span, width) for span, width in zip(spans, widths, strict=True)]
    for label, cells in {"CLIENT": [*spans], **rows}.items():
        print(f"  {label:<15}{columns.row(table, cells, ' | ')}")
    print("  a sign for each request: # answered, . not answered", flush=True)


def comparison(switches: Mapping[str, Period], requests: Sequence[ClientRequest]) -> None:
    """Print a table that compares the load of a changed policy on each engine.

    `switches` maps an engine to the period after its load.
    """
    rows = {
        "`geodrop load` of a changed policy": [f"{one.began - one.loading:.2f} s" for one in switches.values()],
        "requests in the seconds after it": [f"{len(one.within(requests))}" for one in switches.values()],
        "of them not as the policy says": [f"{len(one.wrong(requests))}" for one in switches.values()],
    }
    table = [Column("", 38), *(Column(engine, 12, ">") for engine in switches)]
    print(columns.heading(table))
    for label, cells in rows.items():
        print(columns.row(table, (f"  {label}", *cells)))
    print("  Packet rates want a quiet machine and a faster sender: `make bench` has them.", flush=True)
