# SPDX-License-Identifier: Apache-2.0
"""What one ruleset changes against another, as plain values: `compile.change` finds it, `plan` and `reload` tell it.

A *move* is a region, a list or a prefix of the policy whose addresses change their verdict, with how many they are. It
is about the ladder's results, so about what is dropped or would be dropped; `mode` and `starts` are settings. Services
are compared by name. IPv4 inside IPv6 is counted once, as IPv4.

How many: IPv4 in addresses, IPv6 in /48s, the size that a site gets (RFC 6177). A /48 counts if it lies in 2000::/3 and
an address of it moves; /48s for which neither ruleset has a region or a prefix of the policy are left out, and so are
intervals larger than a /16, with which databases fill space that is not allocated. The *blast radius* of a service is
the share that moves, in either direction: of IPv4 without special addresses, and of the /48s in use, which are those
counted above without special ones and those that embed IPv4.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from geodrop import utc
from geodrop.policy.model import MAX_STEPS
from geodrop.ruleset.fields import (
    Bounds,
    Invalid,
    anything,
    choice,
    decode,
    flag,
    listing,
    mapping,
    number,
    optional,
    record,
    text,
    whole,
)
from geodrop.ruleset.ramp import share_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geodrop.ruleset.meta import Row

KINDS = ("region", "list", "prefix")
OPPOSITE = {"drop": "accept", "accept": "drop"}
MAX_NAMED = 8
"""Most regions and lines that the text names for each direction; the rest is counted."""
SMALL = 0.0005
BOUNDS = Bounds(size=16 << 20, values=1_000_000)
"""Bounds of a difference as JSON: that of the world's regions takes 40 KB for a service."""


class PrefixCounts(NamedTuple):
    """Numbers of prefixes that are newly dropped and that are no longer dropped."""

    added: int = 0
    removed: int = 0


class Shares(NamedTuple):
    """Shares, 0.0 to 1.0, of IPv4 without special addresses and of the IPv6 /48s in use."""

    ipv4: float = 0.0
    ipv6: float = 0.0


NOTHING = Shares()


@dataclass(frozen=True, slots=True)
class Move:
    """Addresses that change their verdict to `to`: those of one region, list or prefix, by one line of the policy.

    `line` is that line, as in `policy.yaml:9 deny: CN`; "" if no line decides. `share` is the part of IPv4.
    """

    kind: str
    name: str
    to: str
    ipv4_addresses: int
    ipv6_48s: int
    line: str = ""
    share: float = 0.0

    @property
    def label(self) -> str:
        """The name as in a line of the policy."""
        return f"list:{self.name}" if self.kind == "list" else self.name

    def as_json(self) -> dict[str, Any]:
        """Return the move as a JSON object; the key of its name is its kind."""
        return {
            self.kind: self.name,
            "from": OPPOSITE[self.to],
            "to": self.to,
            "ipv4_addresses": self.ipv4_addresses,
            "ipv6_48s": self.ipv6_48s,
            "ipv4_share": self.share,
            "line": self.line or None,
        }


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """What changes for one service; `state` is "same", "changed", "added" or "removed".

    `moves` begin with what is newly dropped, the largest first. `newly_dropped` is the part of the `blast_radius` that
    moves to drop. `prefixes` are the fewest CIDR prefixes that make up exactly the addresses that move. `settings`
    holds the old and new value of each setting that differs; `match` says whether `match` differs.
    """

    name: str
    state: str = "same"
    moves: Sequence[Move] = ()
    blast_radius: Shares = NOTHING
    newly_dropped: Shares = NOTHING
    prefixes: Mapping[int, PrefixCounts] = field(default_factory=dict)
    settings: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    match: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        return {
            "name": self.name,
            "state": self.state,
            "blast_radius": self.blast_radius._asdict(),
            "newly_dropped": self.newly_dropped._asdict(),
            "moves": [move.as_json() for move in self.moves],
            "prefixes": {f"ipv{family}": count._asdict() for family, count in self.prefixes.items()},
            "settings": {name: list(values) for name, values in self.settings.items()},
            "match": self.match,
        }

    def moved(self, to: str) -> dict[str, float]:
        """Return the regions, lists and prefixes that move to a verdict, with their shares of IPv4."""
        found: dict[str, float] = {}
        for move in self.moves:
            if move.to == to:
                found[move.label] = found.get(move.label, 0.0) + move.share
        return found

    def as_text(self) -> str:
        """Return what moves: `api drops BR (2.3% of IPv4), accepts VE (0.2% of IPv4)`; "" if nothing moves."""
        verbs = (("drop", "drops"), ("accept", "accepts"))
        parts = [f"{verb} {_named(moved)}" for to, verb in verbs if (moved := self.moved(to))]
        return f"{self.name} {', '.join(parts)}" if parts else ""

    def settings_as_text(self) -> str:
        """Return which settings change: `mode monitor -> enforce and match changed`; "" if none does."""
        changed = [f"{name} {_shown(name, old)} -> {_shown(name, new)}" for name, (old, new) in self.settings.items()]
        return " and ".join([*changed, *(["match changed"] if self.match else [])])


@dataclass(frozen=True, slots=True)
class RulesetDiff:
    """What one ruleset changes against another. `never_drop_ports`: whether the never-drop ports differ."""

    services: tuple[ServiceChange, ...]
    never_drop_ports: bool = False
    same_ruleset: bool = False

    @property
    def prefixes(self) -> PrefixCounts:
        """The prefix counts of all services and both families."""
        counts = [count for service in self.services for count in service.prefixes.values()]
        return PrefixCounts(sum(count.added for count in counts), sum(count.removed for count in counts))

    def as_json(self) -> dict[str, Any]:
        """Return the text line, the totals and the changes of each service as a JSON object."""
        return {
            "text": self.as_text(),
            "same_ruleset": self.same_ruleset,
            "never_drop_ports": self.never_drop_ports,
            "prefixes": self.prefixes._asdict(),
            "services": [service.as_json() for service in self.services],
        }

    def as_text(self) -> str:
        """Return one line: `api drops BR (2.3% of IPv4), +1,203 -87 prefixes`."""
        parts = [said for one in self.services if (said := one.as_text())]
        if any(self.prefixes):
            parts.append(f"+{self.prefixes.added:,} -{self.prefixes.removed:,} prefixes")
        parts += [f"{one.name} {one.state}" for one in self.services if one.state in ("added", "removed")]
        parts += [f"{one.name}: {one.settings_as_text()}" for one in self.services if one.settings or one.match]
        if self.never_drop_ports:
            parts.append("never-drop ports changed")
        if parts:
            return ", ".join(parts)
        return "nothing changed" if self.same_ruleset else "nothing that is dropped changed"


def line_of(policy: str, row: Row) -> str:
    """Return the line of a policy that a row names, as in `policy.yaml:9 deny: CN`; "" if no line decides.

    `policy` is the name of its file. Lines of `default`, `unknown` and `never_drop` begin with that word already.
    """
    if not row.at:
        return ""
    key = "" if row.line.startswith(("default:", "unknown:", "never_drop:")) else _key(row.verdict)
    return f"{policy}:{row.at} {key}{row.line}"


def percent(share: float) -> str:
    """Return a share as text: `2.3%`, `<0.1%`, `0%`."""
    if not share:
        return "0%"
    return "<0.1%" if share < SMALL else f"{share:.1%}"


def of_json(content: bytes) -> RulesetDiff:
    """Return the difference whose JSON form is given, as bytes from a child that is not trusted. Raises Invalid."""
    return _DIFFERENCE(decode(content, BOUNDS))


def to_json(found: RulesetDiff) -> str:
    """Return the JSON text of a difference; `of_json` is its inverse."""
    return json.dumps(found.as_json())


def _key(verdict: str) -> str:
    return "deny: " if verdict == "drop" else "allow: "


def _named(shares: Mapping[str, float]) -> str:
    """Return the names with their shares, the largest first, and at most MAX_NAMED of them."""
    names = sorted(shares, key=lambda label: (-shares[label], label))
    left = names[MAX_NAMED:]
    said = [f"{label}{_share(shares[label])}" for label in names[:MAX_NAMED]]
    if left:
        said.append(f"{len(left):,} more{_share(sum(shares[label] for label in left))}")
    return ", ".join(said)


def _share(share: float) -> str:
    """Return a share of IPv4 in brackets; "" for zero."""
    return f" ({percent(share)} of IPv4)" if share else ""


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - a setting may have any type
    if name == "ramp":
        return ", ".join(share_text(share) + (f" from {utc.moment(at)}" if at else "") for at, share in value) or "100%"
    if name != "starts":
        return str(value)
    return "at once" if value is None else utc.moment(value)


_NAME = text(256)
_COUNT = whole(0, 1 << 48)
_SHARE = number(0, 1)
_SHARES = record(Shares, ipv4=_SHARE, ipv6=_SHARE)
_COUNTS = record(PrefixCounts, added=whole(0, 1 << 64), removed=whole(0, 1 << 64))


def _move(**given: Any) -> Move:  # noqa: ANN401 - fields of Move
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        raise Invalid(f"has {len(kinds)} of {', '.join(KINDS)}")
    [kind] = kinds
    return Move(
        kind,
        given[kind],
        given["to"],
        given["ipv4_addresses"],
        given["ipv6_48s"],
        given["line"] or "",
        given["ipv4_share"],
    )


_MOVE_FIELDS: dict[str, Any] = {
    **dict.fromkeys(KINDS, _NAME),
    "from": choice("accept", "drop"),
    "to": choice("accept", "drop"),
    "ipv4_addresses": _COUNT,
    "ipv6_48s": _COUNT,
    "ipv4_share": _SHARE,
    "line": optional(text(1_024)),
}
_MOVE = record(_move, KINDS, **_MOVE_FIELDS)


def _setting(value: object) -> Any:  # noqa: ANN401 - a text, a moment, the steps of a ramp, or nothing
    if type(value) is list:
        return _STEPS(value)
    return None if value is None else _MOMENT(value) if type(value) is int else _NAME(value)


_MOMENT = whole(0, 1 << 48)
_STEPS = listing(listing(_MOMENT, 2, 2), MAX_STEPS)


def _pair(value: object) -> tuple[Any, Any]:
    old, new = _PAIR(value)
    return old, new


_PAIR = listing(_setting, 2, 2)


def _families(**given: PrefixCounts) -> dict[int, PrefixCounts]:
    return {int(name.removeprefix("ipv")): count for name, count in given.items()}


_SERVICE = record(
    ServiceChange,
    name=_NAME,
    state=choice("same", "changed", "added", "removed"),
    blast_radius=_SHARES,
    newly_dropped=_SHARES,
    moves=listing(_MOVE, 100_000),
    prefixes=record(_families, ipv4=_COUNTS, ipv6=_COUNTS),
    settings=mapping(_NAME, _pair, 16),
    match=flag,
)


def _difference(services: Iterable[ServiceChange], **given: Any) -> RulesetDiff:  # noqa: ANN401 - fields of RulesetDiff
    return RulesetDiff(tuple(services), given["never_drop_ports"], given["same_ruleset"])


_DIFFERENCE = record(
    _difference,
    text=anything,
    same_ruleset=flag,
    never_drop_ports=flag,
    prefixes=anything,
    services=listing(_SERVICE, 10_000),
)
