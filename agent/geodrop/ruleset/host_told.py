# SPDX-License-Identifier: Apache-2.0
"""The text output of `explain` for what a host adds: what was in force then, since when, how many packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.ruleset.meta import OTHER_LABEL
from geodrop.ruleset.verdict_text import MARGIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.ruleset.verdict_text import Answer


def told_here(found: Sequence[Answer]) -> Iterator[str]:
    """Yield the lines about the answers to one question; none for answers that come from no host."""
    yield from _then(found[0])
    yield from _since(found)
    yield from _counted(found)


def _then(one: Answer) -> Iterator[str]:
    if then := one.get("in_force"):
        until = f"was in force from {then['from']} until {then['until']}" if then["until"] else f"since {then['from']}"
        yield f"{'then':<{MARGIN}}generation {then['generation']} (ruleset {then['digest'][:12]}) {until}"


def _since(found: Sequence[Answer]) -> Iterator[str]:
    """Yield since when each service judges the address as it does now."""
    said: dict[tuple[str, int, bool], list[str]] = {}
    for one in found:
        if since := one.get("since"):
            said.setdefault((since["time"], since["generation"], since["at_least"]), []).append(one["service"])
    for (time, generation, at_least), services in said.items():
        least = "at least " if at_least else ""
        which = f": {', '.join(services)}" if len(said) > 1 else ""
        yield f"{'since':<{MARGIN}}{least}{time}, generation {generation}{which}"


def _counted(found: Sequence[Answer]) -> Iterator[str]:
    """Yield for each service and region, list or prefix how many packets the line that decides has dropped."""
    packets: dict[tuple[str, str, str], dict[str, tuple[int, int]]] = {}
    for one in found:
        for counter in one.get("counters", ()):
            name = counter.get("region") or counter.get("list") or counter.get("prefix")
            both = counter["dropped"]["packets"], counter["would_drop"]["packets"]
            packets.setdefault((one["service"], one["counted_as"], name), {})[counter["family"]] = both
    for (service, label, name), families in packets.items():
        dropped, would_drop = (sum(amounts) for amounts in zip(*families.values(), strict=True))
        counted = f", {would_drop:,} only counted" if would_drop else ""
        among = f" as `other`, {label} among them" if name == OTHER_LABEL else ""
        yield f"{'count':<{MARGIN}}{label} to {service}: {dropped:,} packets dropped{among}{counted}"
