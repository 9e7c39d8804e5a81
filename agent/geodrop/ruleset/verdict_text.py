# SPDX-License-Identifier: Apache-2.0
"""Words about one answer of `explain`: which line of the policy decides, and why a packet passes nevertheless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geodrop.ruleset.ramp import BUCKETS, share_text

Answer = Mapping[str, Any]

MARGIN = 8
"""Width in columns of the first word of each line."""

WORDS = ("DROP", "ACCEPT", "then", "since", "count", "region", "note", "test", "kernel", "next")
"""The first words of lines; only the lines above the answers to one of several questions have none."""


def deciding(one: Answer) -> str:
    """Return which line of the policy decides, and how."""
    service, line, denies = one["service"], one["line"], one["would_drop"]
    place = f"{line}, {one['place']}" if one["place"] else line
    where = f" ({one['place']})" if one["place"] else ""
    match one["rung"]:
        case "never-drop":
            return f"{service} never drops it ({place})"
        case "special":
            return f"special, so neither of a country nor unknown: {service} lets it pass"
        case "default":
            return f"no line of {service} {'allows' if denies else 'denies'} it ({place})"
        case "unknown":
            return f"no database has a country for it ({place}, of {service})"
    return f"{service} {'denies' if denies else 'allows'} {line}{where}"


def dropped(one: Answer) -> bool:
    """Tell whether an address is dropped, or would be if it were not exempt."""
    in_share = one["bucket"] is None or one["bucket"] < one["share"]
    return one["verdict"] == "drop" or bool(one["exempted"] and one["mode"] == "enforce" and in_share)


def reservation(one: Answer) -> str:
    """Return why a packet passes that the ladder would drop, or that only a share is dropped; "" if neither is so."""
    if not one["would_drop"]:
        return ""
    service, share, from_ = one["service"], one["share"], one["dropped_from"]
    if dropped(one):
        many = one["bucket"] is None and share is not None and share < BUCKETS
        return f"; {share_text(share)} of such sources are dropped" if many else ""
    if one["bucket"] is not None and one["mode"] == "enforce":
        bucket = f"bucket {one['bucket']:,} of {BUCKETS:,}"
        when = f", dropped from {from_} on" if from_ else ""
        return f"; but {service} drops only {share_text(share)} of such sources: {bucket}{when}"
    if one["starts"]:
        return f"; but {service} drops nothing before {one['starts']}"
    if from_:
        return f"; but {service} drops nothing yet, and this source from {from_} on"
    if share == 0:
        return f"; but {service} drops nothing yet (ramp)"
    return f"; but {service} only counts (mode: monitor)"
