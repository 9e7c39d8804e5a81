# SPDX-License-Identifier: Apache-2.0
"""The self-check of `status`: what the kernel would do with a packet now, and how many packets it has judged."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.engine.probes import probes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geodrop.dataplane.both import BothEngines
    from geodrop.engine.api import Interface
    from geodrop.engine.exempt import ExemptSource
    from geodrop.engine.probes import Probe
    from geodrop.ruleset.model import Ruleset

TRIES = 2
"""Tries before a difference counts: a start or the end of a pause may come between expecting and finding."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The object of `observed`, its problems, and whether none of the sources that should be dropped is dropped."""

    data: dict[str, Any]
    problems: tuple[str, ...] = ()
    leaks: bool = False


@dataclass(slots=True)
class _Traced:
    """The verdict for one probe on one link."""

    probe: Probe
    link: str
    verdict: str
    good: bool = field(init=False)

    def __post_init__(self) -> None:
        self.good = self.verdict == self.probe.expected

    def as_object(self) -> dict[str, Any]:
        return {
            "service": self.probe.service,
            "interface": self.link,
            "address": str(self.probe.source),
            "verdict": self.verdict,
            "expected": self.probe.expected,
        }


def observe(
    engines: BothEngines,
    view: Ruleset | None,
    interfaces: Sequence[Interface],
    links: Sequence[tuple[str, ...]],
    exempt: Callable[[], Sequence[ExemptSource]] = tuple,
) -> Observation:
    """Trace packets by the ruleset with a pause applied; None: the ruleset is not known.

    `links` are the present links of each of the interfaces in force. `exempt` returns what passes now.
    """
    data = {"time": utc.moment(time.time()), "packets_judged": _packets_judged(engines), "probes": [], "without": []}
    if view is None or not any(links):
        return Observation(data)
    pairs = zip(interfaces, links, strict=True)
    on_nftables = [name for interface, names in pairs if interface.engine == "nftables" for name in names]
    traced: list[_Traced] = []
    for _ in range(TRIES):
        made = probes(view, time.time(), exempt())
        found = engines.trace(made, on_nftables)
        traced = [
            _Traced(probe, link, said)
            for link, verdicts in found.items()
            for probe, said in zip(made, verdicts, strict=True)
        ]
        if all(one.good for one in traced):
            break
    denied = [one for one in traced if one.probe.expected == "drop"]
    data |= {"probes": [one.as_object() for one in traced], "without": _without(view, traced)}
    return Observation(data, tuple(_problems(traced)), bool(denied) and all(one.verdict != "drop" for one in denied))


def _packets_judged(engines: BothEngines) -> int:
    counts = engines.counters()
    return sum(
        one.dropped[0] + one.would_drop[0] + one.accepted[0] + one.never_drop[0] + one.exempted[0] for one in counts
    )


def _without(view: Ruleset, traced: Sequence[_Traced]) -> list[str]:
    """Return what could not be probed, so that a missing check is not mistaken for a passed one."""
    seen = {(one.probe.service, one.probe.expected) for one in traced}
    return [
        f"service {service.name}: no probe with the expected verdict {verdict}"
        for service in view.meta.services
        for verdict in ("drop", "accept")
        if (service.name, verdict) not in seen
    ]


def _problems(traced: Sequence[_Traced]) -> list[str]:
    """Return one line for each link with wrong verdicts."""
    found = []
    for link in dict.fromkeys(one.link for one in traced):
        wrong = [one for one in traced if one.link == link and not one.good]
        if wrong:
            first = wrong[0]
            more = f" ({len(wrong) - 1} more)" if len(wrong) > 1 else ""
            packet = f"a packet from {first.probe.source} to {first.probe.service} on {link}"
            differs = f"expected {first.probe.expected}, found {first.verdict}{more}"
            found.append(f"{packet}: {differs}; next: geodrop verify, geodrop reload")
    return found
