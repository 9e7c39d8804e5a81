# SPDX-License-Identifier: Apache-2.0
"""What a host adds to a few answers of `explain`: since when a verdict stands, and how many packets it has dropped."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from geodrop.dataplane.both import BothEngines
from geodrop.report.counters import as_object
from geodrop.report.in_force import read_timeline
from geodrop.report.since import KeptRulesets, since
from geodrop.ruleset.meta import OTHER_LABEL
from geodrop.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geodrop.config import Config
    from geodrop.engine.api import Total
    from geodrop.report.pieces import Pieces
    from geodrop.report.since import Since

    Answer = dict[str, Any]


def add_details(config: Config, answers: Sequence[Answer]) -> Pieces[list[Answer]]:
    """Fill in `since` and `counters`, where they apply, in answers about what is loaded now.

    Raises PrivilegeError, UnavailableError.
    """
    totals = BothEngines.here().counters()
    yield
    timeline = yield from read_timeline(config)
    known = list(timeline.until(time.time()))
    rulesets = KeptRulesets(Store(config.state))
    stands: dict[str, Mapping[str, Since]] = {}
    found = []
    for answer in answers:
        if "error" in answer:
            found.append(answer)
            continue
        address = answer["address"]
        if answer["about"] == "address" and address not in stands:
            stands[address] = yield from since(known, rulesets, ip_address(address))
        stood = stands.get(address, {}).get(answer["service"]) if answer["about"] == "address" else None
        # If the history does not tell of what is in force, or an exemption lets the address pass, it says nothing.
        right = stood is not None and stood.verdict == answer["verdict"] and not answer["exempted"]
        found.append(
            answer | {"since": stood.as_json() if stood and right else None, "counters": counters_of(totals, answer)}
        )
    return found


def counters_of(totals: Iterable[Total], answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of `counters --json` that count packets which the line of an answer drops.

    Where nftables does not count the region separately yet, they are those of `other`. Empty for an accepted address.
    """
    if not answer["would_drop"] or not answer["counted_as"]:
        return []
    families = ("ipv4", "ipv6") if "subject" in answer else (f"ipv{ip_address(answer['address']).version}",)
    own = {(one.family, one.label): one for one in totals if one.service == answer["service"]}
    counted = [own.get((family, answer["counted_as"])) or own.get((family, OTHER_LABEL)) for family in families]
    return [as_object(one) for one in counted if one]
