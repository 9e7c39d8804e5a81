# SPDX-License-Identifier: Apache-2.0
"""Say for a person whether the history is whole, and for how long each line of the policy was in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop import utc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from geodrop.config import Config

MANY = 20
"""Gaps of one line of the policy that are listed; with --json all of them."""
LABEL = 24


def verify_without_daemon(config: Config, heads: Sequence[str]) -> dict[str, Any]:
    """Check the history in this process. Raises what report.chain raises."""
    from geodrop.report.chain import read_chain  # noqa: PLC0415 - see cli/status.py
    from geodrop.report.pieces import whole  # noqa: PLC0415

    return whole(read_chain(config, heads))


def coverage_without_daemon(config: Config, since: float | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Read the history in this process. Raises what report.coverage raises."""
    from geodrop.report.coverage import read_coverage_of_time  # noqa: PLC0415 - see cli/status.py
    from geodrop.report.pieces import whole  # noqa: PLC0415

    return whole(read_coverage_of_time(config, since))


def verified(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of `history --verify`, from its object."""
    if not found["faults"]:
        between = f" from {found['first']} to {found['last']}" if found["records"] else ""
        count = "1 record" if found["records"] == 1 else f"{found['records']:,} records"
        yield f"whole: {count}{between}, none altered, moved or removed"
    for fault in found["faults"]:
        yield f"{found['file']}:{fault['line']}: {fault['what']}"
    if found["forgotten"]:
        forgotten = found["forgotten"]
        yield f"records up to {forgotten['through']}, until {forgotten['until']}, were forgotten, as `keep` says"
    for number in found["cut_before"]:
        yield f"a line before record {number} was cut off, as by a power cut; what it reported is lost"
    for one in found["heads"]:
        if one["number"]:
            yield f"record {one['number']} has the hash {one['head']}"
        else:
            yield f"no record has the hash {one['head']}: records were altered or removed since, or it was forgotten"
    if found["head"]:
        yield f"head: record {found['number']}, {found['head']}"
    if found["next_step"]:
        yield f"next: {found['next_step']}"


def covered(one: Mapping[str, Any]) -> list[str]:
    """Return the lines of `history --coverage` for one line of a policy, from its object."""
    gaps = [_gap(gap) for gap in one["gaps"][:MANY]]
    left, unsaid = one["gaps"][MANY:], one["gaps_left_out"]
    if count := len(left) + unsaid["count"]:
        gaps.append(f"{count:,} more gaps, {utc.span(sum(gap['seconds'] for gap in left) + unsaid['seconds'])}")
    label = f"{one['service']}  {one['line']}".ljust(LABEL)
    first = f"{label} in force {utc.span(one['in_force'])} of {utc.span(one['seconds'])}"
    return [f"{first}   {gaps[0]}"] if len(gaps) == 1 else [first, *(f"  {line}" for line in gaps)]


def _gap(gap: Mapping[str, Any]) -> str:
    who = gap["user"] or gap["culprit"]
    told = ", ".join(filter(None, (gap["cause"], who, gap["why"])))
    return f"gap {gap['from'].replace('T', ' ')} +{utc.span(gap['seconds'])}  {told}"
