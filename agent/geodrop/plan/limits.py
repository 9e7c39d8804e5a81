# SPDX-License-Identifier: Apache-2.0
"""What holds a change back: the limits of the policy that is to come in force, and a few that every change has.

A change is judged against the ruleset in force. Where nothing is in force nothing is held, since then every packet
passes. `starts` and a pause do not count: both end by themselves, without anybody being asked again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop import utc
from geodrop.errors import HeldError
from geodrop.plan.judge import Judge
from geodrop.ruleset.age import DAY
from geodrop.ruleset.difference import percent
from geodrop.ruleset.explain import effective_mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.plan.operators import SshPeer
    from geodrop.ruleset.difference import Move, RulesetDiff, ServiceChange
    from geodrop.ruleset.meta import Input, Meta
    from geodrop.ruleset.model import Ruleset

SHORTEST = 12
"""Fewest digits of a digest that accept a change."""
FEW = 3
"""Most moves that the text of a held change names."""


@dataclass(frozen=True, slots=True)
class HeldLimit:
    """One limit that a change exceeds. `service` is "" if it is about the whole ruleset.

    `value` is what the change would bring and `allowed` what the limit allows: shares, seconds, seconds since the epoch
    or words, by `limit`; None if there is no such figure. `text` says it in a line; `more` are lines below it.
    """

    limit: str
    text: str
    service: str = ""
    value: float | str | None = None
    allowed: float | str | None = None
    more: tuple[str, ...] = ()

    def as_json(self, digest: str) -> dict[str, Any]:
        """Return the limit as a JSON object; `digest` is that of the held ruleset."""
        return {
            "limit": self.limit,
            "service": self.service or None,
            "value": self.value,
            "allowed": self.allowed,
            "accept": digest[:SHORTEST],
            "text": self.text,
        }


def held_by(
    old: Ruleset, new: Ruleset, change: RulesetDiff, operators: Iterable[SshPeer], now: float | None = None
) -> list[HeldLimit]:
    """Return the limits that a change from `old` to `new` exceeds; empty if nothing holds it.

    `operators` are those who are logged in by SSH. `now` is in seconds since the epoch, the present by default.
    """
    if old.digest == new.digest:
        return []
    now = time.time() if now is None else now
    return [
        *_blast_radius(new.meta, change),
        *_databases(old.meta, new.meta, now),
        *_modes(old.meta, new.meta, now),
        *_locked_out(old, new, operators),
    ]


def unknown(reason: str) -> list[HeldLimit]:
    """Return the limit for a change that cannot be compared with what is in force."""
    return [HeldLimit("comparison", f"what would change is not known ({reason})")]


def held_error(held: Sequence[HeldLimit], digest: str, generation: int) -> HeldError:
    """Return the failure for a held change, with the one command that accepts exactly these bytes."""
    command = f"geodrop reload --accept {digest[:SHORTEST]}"
    first, *others = held
    lines = [f"held: {first.text}; generation {generation} stays"]
    lines += [f"  {line}" for line in first.more]
    for one in others:
        lines += [f"held: {one.text}", *(f"  {line}" for line in one.more)]
    lines.append(f"  accept exactly this: {command}")
    message = f"held: {'; '.join(one.text for one in held)}; generation {generation} stays"
    failure = HeldError(message, command, printed="\n".join(lines))
    failure.held = [one.as_json(digest) for one in held]
    return failure


def _blast_radius(meta: Meta, change: RulesetDiff) -> Iterator[HeldLimit]:
    """Yield each service that moves more than the policy allows and newly drops something of it.

    A change that only accepts more is how a block is taken back, and is never held.
    """
    modes = {service.name: service.mode for service in meta.services}
    limit = meta.blast_radius
    if limit is None:
        return
    for one in change.services:
        family, share = max((("IPv4", one.blast_radius.ipv4), ("IPv6 /48s", one.blast_radius.ipv6)), key=_share)
        if modes.get(one.name) != "enforce" or share <= limit or not any(one.newly_dropped):
            continue
        place = f" ({meta.policy_name}:{meta.blast_radius_at})" if meta.blast_radius_at else ""
        text = f"{one.name}: {percent(share)} of {family} would change, limit {limit * 100:.4g}%{place}"
        yield HeldLimit("blast_radius", text, one.name, share, limit, tuple(_largest(one)))


def _share(found: tuple[str, float]) -> float:
    return found[1]


def _largest(change: ServiceChange) -> Iterator[str]:
    dropped = [move for move in change.moves if move.to == "drop"]
    for move in dropped[:FEW]:
        yield f"{move.label} {amount(move)} newly dropped{f' ({move.line})' if move.line else ''}"
    if len(dropped) > FEW:
        yield f"and {len(dropped) - FEW:,} more: geodrop plan"


def amount(move: Move) -> str:
    """Return how much moves: `1.6 G IPv4, 88 IPv6 /48s`."""
    return f"{scaled(move.ipv4_addresses)} IPv4, {scaled(move.ipv6_48s)} IPv6 /48s"


def scaled(count: int) -> str:
    """Return a number for a person: `1,204`, `87.3 M`, `1.6 G`."""
    for unit, size in (("G", 10**9), ("M", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,}"


def _databases(old: Meta, new: Meta, now: float) -> Iterator[HeldLimit]:
    before, after = ([one for one in meta.inputs if one.kind == "database"] for meta in (old, new))
    for was, one in _pairs(before, after):
        if was is not None and was.sha256 == one.sha256:
            continue
        age = None if one.build_epoch is None else now - one.build_epoch
        if new.database_age is not None and age is not None and age > new.database_age:
            place = f" ({new.policy_name}:{new.database_age_at})" if new.database_age_at else ""
            text = f"{one.name} is {age / DAY:,.0f} days old, limit {new.database_age / DAY:,.4g}{place}"
            yield HeldLimit("database_age", text, value=int(age), allowed=new.database_age)
        if was is None:
            continue
        if was.build_epoch is not None and one.build_epoch is not None and one.build_epoch < was.build_epoch:
            days = f"{utc.day(one.build_epoch)}, before {utc.day(was.build_epoch)} of the one in force"
            text = f"{one.name} was built {days}"
            yield HeldLimit("build_epoch", text, value=one.build_epoch, allowed=was.build_epoch)
        if was.database_type != one.database_type:
            text = f"{one.name} is of type {one.database_type}, the one in force is {was.database_type}"
            yield HeldLimit("database_type", text, value=one.database_type, allowed=was.database_type)
        if gone := sorted(set(was.countries) - set(one.countries)):
            yield HeldLimit(
                "countries", f"{one.name} has no address of {', '.join(gone)} any more", value=" ".join(gone)
            )
    replaced = [was for was, _ in _pairs(before, after)]
    left = {country for one in after for country in one.countries}
    for was in before:
        if was not in replaced and (gone := sorted(set(was.countries) - left)):
            text = f"without {was.name} no database has an address of {', '.join(gone)}"
            yield HeldLimit("countries", text, value=" ".join(gone))


def _pairs(before: Sequence[Input], after: Sequence[Input]) -> list[tuple[Input | None, Input]]:
    """Pair each database with the one that it replaces: that of its name, or else the next one in order."""
    names = {one.name: one for one in before}
    new_names = {one.name for one in after}
    others = iter([one for one in before if one.name not in new_names])
    return [(names.get(one.name) or next(others, None), one) for one in after]


def _modes(old: Meta, new: Meta, now: float) -> Iterator[HeldLimit]:
    """Yield each service that only counts in what is in force and would drop."""
    before = {service.name: service for service in old.services}
    for service in new.services:
        was = before.get(service.name)
        if was is None or service.mode != "enforce":
            continue
        begins = effective_mode(was, now) == "monitor" and effective_mode(service, now) == "enforce"
        if was.mode == "monitor" or begins:
            why = "mode: monitor" if was.mode == "monitor" else f"starts: {utc.moment(was.starts or 0)}"
            text = f"{service.name} would begin to drop; in force it only counts ({why})"
            yield HeldLimit("mode", text, service.name, "enforce", "monitor")


def _locked_out(old: Ruleset, new: Ruleset, operators: Iterable[SshPeer]) -> Iterator[HeldLimit]:
    """Yield each operator whose next SSH connection would be dropped, and is not dropped now."""
    before, after = Judge(old, enforcing(old.meta)), Judge(new, enforcing(new.meta))
    for one in dict.fromkeys(operators):
        said = after.packet(*one, established=False)
        if said is None or before.packet(*one, established=False) is not None:
            continue
        service, judged = said
        text = f"your SSH connection from {one.peer} ({judged.region}) would be dropped by {service}"
        yield HeldLimit("ssh_peer", text, service, str(one.peer))


def enforcing(meta: Meta) -> list[str]:
    """Return the services that drop, or will once they start."""
    return [service.name for service in meta.services if service.mode == "enforce"]
