# SPDX-License-Identifier: Apache-2.0
"""Let a source pass for a limited time: one client through the policy, now, on this host only.

The kernel is changed first, like for a pause, so that this works on a full or read-only disk. What a crash leaves in
the kernel without a record is removed by the next repair: no user was told that it is in force.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from geodrop import addresses, utc
from geodrop.dataplane.both import BothEngines
from geodrop.engine.exempt import holds
from geodrop.errors import ApplyError, DataError, NotEnforcingError, UsageError
from geodrop.operations.exempt_sources import sources
from geodrop.operations.load import loaded_ruleset
from geodrop.ruleset.explain import explain
from geodrop.state.exemptions import MOST, SECOND, ClockReading, Exemption, standing
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.config import Config
    from geodrop.engine.api import Observed
    from geodrop.state.entry import Attempt, ChangeRequest

Network = IPv4Network | IPv6Network

MAPPED = 96
"""Bits before the IPv4 address in an IPv4-mapped one (RFC 4291, 2.5.5.2)."""

SHORTEST = {4: 16, 6: 32}
"""The shortest prefix that can be exempt: more than this is a pause, or a line of the policy."""


@dataclass(frozen=True, slots=True)
class ExemptDone:
    """What was done, in one line; `warnings` as for Outcome."""

    text: str
    warnings: tuple[str, ...] = ()


def exempt(config: Config, asked: ChangeRequest, source: str, seconds: int, user: str) -> ExemptDone:
    """Let an address or prefix pass every service for `seconds`; `user` is the name of who asked.

    Networks inside it that pass no longer than this are merged into it; if it is inside such a network, nothing
    changes. The caller holds the lock. Raises DataError for a text that is no network, UsageError for one that is too
    large, too long or too many, NotEnforcingError, and ApplyError; after an error everything is as it was.
    """
    network = network_of(source)
    _check(config, network, seconds)
    engines, observed, store = _here(config)
    at = ClockReading.now()
    known = _known(store, at)
    created = int(at.wall)
    new = Exemption(
        source=str(network),
        created=created,
        expires=math.ceil(at.wall) + seconds,
        boot=at.boot,
        deadline=at.monotonic + seconds * SECOND,
        user=user,
        why=asked.why,
    )
    if around := _around(new, known, at):
        return ExemptDone(f"{named(network)} passes already, until {utc.soon(around.until(at), at.wall)}{_by(around)}")
    wanted = (*(one for one in known if not _inside(one, new, at)), new)
    if len(wanted) > MOST:
        raise UsageError(
            f"{MOST:,} sources are exempt, which is the most",
            "end some: geodrop exempt ADDRESS --end; or geodrop pause",
        )
    until = utc.soon(new.expires, at.wall)
    with store.history.attempt(asked) as attempt:
        attempt.change = f"{named(network)} passes until {utc.moment(new.expires)}"
        _put(engines, store, attempt, known, wanted)
    text = f"{named(network)} passes {_who_denies(config, observed, network, until, at)}; this host only"
    return ExemptDone(text, store.unwritten())


def end(config: Config, asked: ChangeRequest, source: str) -> ExemptDone:
    """End an exemption before its time. The caller holds the lock.

    Raises DataError if exactly this network is not exempt, NotEnforcingError, and ApplyError.
    """
    network = network_of(source)
    engines, _, store = _here(config)
    at = ClockReading.now()
    known = _known(store, at)
    wanted = tuple(one for one in known if one.network != network)
    if len(wanted) == len(known):
        around = next((one for one in known if holds(one.network, network)), None)
        step = f"it is inside {named(around.network)}, which can be ended" if around else "see: geodrop exempt"
        raise DataError(f"{named(network)} is not exempt", step)
    with store.history.attempt(asked) as attempt:
        attempt.change = f"{named(network)} is not exempt any more"
        _put(engines, store, attempt, known, wanted)
    return ExemptDone(attempt.change, store.unwritten())


def network_of(text: str) -> Network:
    """Return the network that a text means. Raises DataError."""
    try:
        network = addresses.network_of(text)
    except ValueError:
        network = None
    if network is not None:
        if (mapped := _mapped(network)) is not None:
            raise DataError(
                f"{text} is how a program shows {named(mapped)} on a socket for both families; no packet has it",
                f"write {named(mapped)}",
            )
        return network
    try:
        whole = addresses.network_of(text, strict=False)
    except ValueError:
        raise DataError(f"{text!r} is neither an address nor a prefix", "write 192.0.2.1 or 192.0.2.0/24") from None
    address = text.partition("/")[0]
    raise DataError(f"{text} is an address inside a prefix", f"write {whole} for all of it, or {address}")


def _mapped(network: Network) -> IPv4Network | None:
    """Return the IPv4 network inside ::ffff:0:0/96; None if there is none."""
    address = network.network_address
    if isinstance(address, IPv4Address) or address.ipv4_mapped is None or network.prefixlen < MAPPED:
        return None
    return IPv4Network((address.ipv4_mapped, network.prefixlen - MAPPED))


def named(network: Network) -> str:
    """Return a network as text; a single address without its length."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _here(config: Config) -> tuple[BothEngines, Observed, Store]:
    engines = BothEngines.here(config.loader)
    observed = engines.observe()
    if not observed.generation:
        raise NotEnforcingError("nothing is in force, so nobody has to be exempt", "load a ruleset: geodrop load FILE")
    return engines, observed, Store(config.state)


def _check(config: Config, network: Network, seconds: int) -> None:
    shortest = SHORTEST[network.version]
    if network.prefixlen < shortest:
        raise UsageError(
            f"{network} is too large to be exempt: /{shortest} is the shortest prefix of IPv{network.version}",
            "to let everybody in: geodrop pause; to let a country in: a line under allow in the policy",
        )
    if seconds > config.exempt_max:
        raise UsageError(
            f"{seconds:,} s are too long: exempt_max in agent.yaml is {config.exempt_max:,} s",
            "ask for less, or write a line under allow in the policy",
        )


def _known(store: Store, at: ClockReading) -> tuple[Exemption, ...]:
    known = store.exemptions.read()
    if known is None:
        [problem, *_] = store.exemptions.problems(at)
        raise DataError(*problem.split("; next: ", 1))
    return standing(known, at)


def _put(
    engines: BothEngines, store: Store, attempt: Attempt, known: Sequence[Exemption], wanted: Sequence[Exemption]
) -> None:
    """Change the kernel, read it back, then write it down."""
    at = ClockReading.now()
    passing = sources(wanted, at)
    try:
        engines.put_exempt(passing)
        if found := engines.verify_exempt(passing):
            first = found[0]
            told = f"read back, the kernel differs: {first.where}: expected {first.expected}, found {first.found}"
            raise ApplyError(told, "geodrop verify")
    except ApplyError:
        engines.put_exempt(sources(known, at))
        raise
    store.exemptions.note(wanted)
    attempt.made = True


def _around(new: Exemption, known: Iterable[Exemption], at: ClockReading) -> Exemption | None:
    """Return an exemption that makes the new one needless."""
    return next((one for one in known if _inside(new, one, at)), None)


def _inside(inner: Exemption, outer: Exemption, at: ClockReading) -> bool:
    """Tell whether an exemption says nothing beside another one: its network passes at least as long because of it."""
    inner_left, outer_left = inner.left(at), outer.left(at)
    if inner_left is None or outer_left is None:
        return False
    return holds(outer.network, inner.network) and outer_left >= inner_left


def _by(one: Exemption) -> str:
    inside = f", with {named(one.network)}"
    return inside + (f" ({', '.join(filter(None, (one.user, one.why)))})" if one.user or one.why else "")


def _who_denies(config: Config, observed: Observed, network: Network, until: str, at: ClockReading) -> str:
    """Return which services let it pass, until when, and what would happen otherwise."""
    everywhere = f"every service until {until}"
    try:
        ruleset = loaded_ruleset(config, observed)
    except DataError:
        ruleset = None
    if ruleset is None or network.prefixlen < network.max_prefixlen:
        return everywhere
    denied = [one for one in explain(ruleset, network.network_address, at.wall) if one.would_drop]
    if not denied:
        return f"{everywhere} (no service would drop it)"
    first = denied[0]
    why = ", ".join(filter(None, (first.region, first.place or first.line)))
    return f"{', '.join(one.service for one in denied)} until {until} ({why} would drop it)"
