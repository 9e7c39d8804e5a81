# SPDX-License-Identifier: Apache-2.0
"""Count what was dropped, by service, family and region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop.dataplane.both import BothEngines
from geodrop.ruleset.model import OTHER

if TYPE_CHECKING:
    from geodrop.engine.api import Total
    from geodrop.ruleset.model import Ruleset

SCHEMA = 1


def read_counters() -> list[dict[str, Any]]:
    """Return the objects of `counters --json`: totals since the first load."""
    return [as_object(count) for count in BothEngines.here().counters()]


def as_other(ruleset: Ruleset, number: int, *, told_apart: bool) -> int:
    """Return how many regions, lists and prefixes that a service drops nftables counts as `other`.

    With the second map, the ones in `counted` have their own counters; maps that are not joined count each by itself.
    """
    meta = ruleset.meta
    service = meta.services[number]
    if not any(target.klass == OTHER for target in service.targets):
        return 0
    rows = set(ruleset.sections["rows"].cast("H")[number :: len(meta.services)])
    dropped = {meta.rows[row].klass for row in rows if meta.rows[row].verdict == "drop"}
    return len(dropped.difference(service.counted if told_apart else ()))


def as_object(count: Total) -> dict[str, Any]:
    """Return the object of one total.

    A class has dropped and would_drop; a service and family have accepted, never_drop and exempted. Unreadable packets,
    which belong to no service, have an object of their own.
    """
    shared = {"schema": SCHEMA, "service": count.service or None, "family": count.family or None}
    if not count.service:
        dropped, would_drop = _amount(count.dropped), _amount(count.would_drop)
        return {**shared, "what": "unreadable", "dropped": dropped, "would_drop": would_drop}
    if count.label is None:
        passed = {"accepted": count.accepted, "never_drop": count.never_drop, "exempted": count.exempted}
        return shared | {name: _amount(amount) for name, amount in passed.items()}
    return {
        **shared,
        kind_of(count.label): count.label.removeprefix("list:"),
        "dropped": _amount(count.dropped),
        "would_drop": _amount(count.would_drop),
    }


def kind_of(label: str) -> str:
    """Return whether a label names a list, an inline prefix or a region."""
    if label.startswith("list:"):
        return "list"
    return "prefix" if "." in label or label.count(":") > 1 else "region"


def _amount(pair: tuple[int, int]) -> dict[str, int]:
    return {"packets": pair[0], "bytes": pair[1]}
