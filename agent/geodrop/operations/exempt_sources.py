# SPDX-License-Identifier: Apache-2.0
"""Keep the exempt sources of the kernel as the state directory names them: at a load, at a boot, after a repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.engine.exempt import ExemptSource
from geodrop.state.exemptions import ClockReading, standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geodrop.dataplane.both import BothEngines
    from geodrop.engine.api import Difference
    from geodrop.state.exemptions import Exemption
    from geodrop.state.store import Store


def sources(exemptions: Iterable[Exemption], at: ClockReading) -> list[ExemptSource]:
    """Return what the kernel should let pass: what is not over and not held back."""
    return [ExemptSource(one.network, one.anchored(at).deadline) for one in exemptions if one.left(at)]


def passing(store: Store) -> list[ExemptSource]:
    """Return what the kernel should let pass now, as the state directory names it; nothing if that is not known."""
    return sources(store.exemptions.read_or_last() or (), ClockReading.now())


def verify_exempt(engines: BothEngines, store: Store) -> list[Difference]:
    """Compare the kernel's exempt sources with those of the state directory, if these are known."""
    if (known := store.exemptions.read_or_last()) is None:
        return []
    return engines.verify_exempt(sources(known, ClockReading.now()))


def at_load(engines: BothEngines, store: Store) -> None:
    """Have tables and programs that are made by this change let exempt sources pass from their first packet on."""
    engines.exempt_from_now(passing(store))


def settle(engines: BothEngines, store: Store) -> list[Difference]:
    """Make the kernel let exactly those sources pass that the state names; return what another program had changed.

    What expired is forgotten. What was held back until the clock was set right begins to pass, and what a slow clock
    made too long ends earlier: neither is a difference.
    If the state cannot be read, what was read before counts, and the file is left as it is. If nothing was read before,
    the kernel is left alone. Raises ApplyError.
    """
    known = store.exemptions.read_or_last()
    if known is None:
        return []
    at = ClockReading.now()
    wanted = standing(known, at)
    wanted_sources = sources(wanted, at)
    if wanted != known:
        if _of_now(known, at) != _of_now(wanted, at):
            engines.put_exempt(wanted_sources)
        if store.exemptions.read() is not None:
            store.exemptions.note(wanted)
    if found := engines.verify_exempt(wanted_sources):
        engines.put_exempt(wanted_sources)
    return found


def _of_now(exemptions: Iterable[Exemption], at: ClockReading) -> set[tuple[str, int]]:
    """Return what the kernel lets pass by these until now, and until when; it ends what expires by itself."""
    return {(one.source, one.deadline) for one in exemptions if one.boot == at.boot and one.deadline > at.monotonic}
