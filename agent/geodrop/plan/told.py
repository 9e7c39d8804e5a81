# SPDX-License-Identifier: Apache-2.0
"""The text of `geodrop plan`, from the object of `plan --json`. Every line begins with a word; the text is a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop.plan.limits import SHORTEST, scaled
from geodrop.ruleset.difference import KINDS, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Object = Mapping[str, Any]

LAST = "digest"
"""The word of the last line, which has no column."""
SHOWN = 12
"""Most moves in each direction that are named; the others are added up."""
REGIONS = 8
"""Most regions named in a line."""


def told(plan: Object) -> Iterator[tuple[str, str]]:
    """Yield the lines: the first word, which may be empty, and the text."""
    digest = plan["digest"][:SHORTEST]
    if not plan["changes"]:
        yield "plan", f"nothing would change ({digest} in force)"
    elif plan["against"] is None:
        yield "plan", "nothing is in force: this would be the first generation, and no limit holds it"
    for service in plan["services"]:
        yield from _service(service, plan["limit"])
    if plan["never_drop_ports"]:
        yield "ports", "the never-drop ports change"
    if plan["changes"] and not _anything(plan):
        yield "plan", "nothing that is dropped changes"
    yield "open", _connections(plan["connections"], [one["name"] for one in plan["services"]])
    yield from _host(plan["own"])
    for one in plan["held"]:
        yield "held", one["text"]
    if refused := plan.get("refused"):
        yield "refused", refused["error"]
        yield LAST, f"{digest}; {refused['next_step']}"
    elif plan["held"]:
        yield LAST, f"{digest}; accept exactly this: geodrop reload --accept {digest}"
    elif plan["changes"]:
        yield LAST, f"{digest}; try it: geodrop reload"


def _anything(plan: Object) -> bool:
    """Return whether a line was said about the rules themselves."""
    return plan["never_drop_ports"] or any(one["state"] != "same" for one in plan["services"])


def _service(service: Object, limit: float | None) -> Iterator[tuple[str, str]]:
    if service["state"] == "same":
        return
    word = service["name"]
    if service["state"] in {"added", "removed"}:
        yield word, f"{service['state']}"
        word = ""
    lines = [_row(move) for to in ("drop", "accept") for move in _most(service["moves"], to)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)] if lines else []
    for verdict, label, addresses, sites, line in lines:
        name, count, sites_count = label.ljust(widths[1]), addresses.rjust(widths[2]), sites.rjust(widths[3])
        yield word, f"{verdict:<6}  {name}  {count} IPv4, {sites_count} IPv6 /48s   {line}".rstrip()
        word = ""
    for name, (old, new) in service["settings"].items():
        yield word, f"{name} {old} -> {new}"
        word = ""
    if service["match"]:
        yield word, "match changes: it takes other packets"
        word = ""
    if service["moves"]:
        shares = service["blast_radius"]
        allowed = "no limit" if limit is None else f"limit {limit * 100:.4g}%"
        yield word, f"blast radius {percent(shares['ipv4'])} of IPv4, {percent(shares['ipv6'])} of IPv6 ({allowed})"


def _most(moves: Sequence[Object], to: str) -> list[Object]:
    """Return the largest moves to a verdict, and one that stands for all others."""
    found = [move for move in moves if move["to"] == to]
    if len(found) <= SHOWN:
        return found
    rest = found[SHOWN - 1 :]
    others = {"region": f"{len(rest):,} more", "to": to, "line": None}
    others |= {name: sum(move[name] for move in rest) for name in ("ipv4_addresses", "ipv6_48s")}
    return [*found[: SHOWN - 1], others]


def _row(move: Object) -> tuple[str, str, str, str, str]:
    kind = next(kind for kind in KINDS if kind in move)
    label = f"list:{move[kind]}" if kind == "list" else move[kind]
    return move["to"], label, scaled(move["ipv4_addresses"]), scaled(move["ipv6_48s"]), move["line"] or ""


def _connections(found: Object, services: Sequence[str]) -> str:
    if found["open"] is None:
        return "which connections are open is not known"
    to = f"connection{'' if found['open'] == 1 else 's'} to {', '.join(services[:REGIONS])}"
    total = sum(one["count"] for one in found["cut"])
    if not total:
        return f"{found['open']:,} {to}, none would be cut"
    regions: dict[str, int] = {}
    for one in found["cut"]:
        regions[one["region"]] = regions.get(one["region"], 0) + one["count"]
    named = sorted(regions.items(), key=lambda one: (-one[1], one[0]))
    more = f" and {len(named) - REGIONS:,} more" if len(named) > REGIONS else ""
    said = ", ".join(f"{region} {count:,}" for region, count in named[:REGIONS])
    return f"{found['open']:,} {to}, {total:,} would be cut: {said}{more}"


def _host(own: Sequence[Object]) -> Iterator[tuple[str, str]]:
    if not own:
        yield "host", "none of its own addresses, gateways, resolvers or your SSH peer is newly dropped"
    names = {"ssh": "your SSH peer", "address": "its address", "route": "its route to"}
    for one in own:
        yield (
            "host",
            f"{names.get(one['what'], 'its ' + one['what'])} {one['address']} newly dropped by {one['service']}",
        )
