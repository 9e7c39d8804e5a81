# SPDX-License-Identifier: Apache-2.0
"""Export a ruleset for other tools: as prefixes or as one JSON object, in pieces, so that memory use stays small."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from geodrop.ruleset.prefixes import denied, hidden, prefixes, regardless

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.ruleset.model import Ruleset, ServiceSpec

SCHEMA = 1
TEREDO = "2001::/32"
_BATCH = 1000


def cidr(ruleset: Ruleset, service: ServiceSpec) -> Iterator[str]:
    """Yield the prefixes that a service denies: one a line, IPv4 before IPv6, ascending, the fewest possible."""
    return _batches(
        f"{prefix}\n"
        for family in (4, 6)
        for first, last, _ in regardless(denied(ruleset, service, family))
        for prefix in prefixes(first, last, family)
    )


def as_json(ruleset: Ruleset, services: Sequence[ServiceSpec]) -> Iterator[str]:
    """Yield one JSON object in pieces: the ruleset's origin, and what each service takes and denies."""
    meta = ruleset.meta
    head = {
        "schema": SCHEMA,
        "digest": ruleset.digest,
        "compiler": meta.compiler,
        "inputs": [
            {"kind": one.kind, "name": one.name, "sha256": one.sha256, "build_epoch": one.build_epoch}
            for one in meta.inputs
        ],
        "never_drop": {
            "prefixes": sorted({zone.never_drop for zone in meta.zones if zone.never_drop}),
            "ports": {"tcp": meta.never_drop_tcp, "udp": meta.never_drop_udp},
        },
    }
    yield json.dumps(head)[:-1] + ', "services": ['
    for number, service in enumerate(services):
        yield ", " if number else ""
        yield json.dumps(_service(ruleset, service))[:-1] + ', "denied": ['
        entries = (
            json.dumps({"prefix": prefix, "region": meta.classes[klass]})
            for family in (4, 6)
            for first, last, klass in denied(ruleset, service, family)
            for prefix in prefixes(first, last, family)
        )
        yield from _batches(f"{', ' if place else ''}{entry}" for place, entry in enumerate(entries))
        yield "]}"
    yield "]}\n"


def _service(ruleset: Ruleset, service: ServiceSpec) -> dict[str, Any]:
    return {
        "name": service.name,
        "mode": service.mode,
        "starts": service.starts,
        "established": service.established,
        "action": service.action,
        "catch_all": service.catch_all,
        "ports": {"tcp": service.tcp, "udp": service.udp},
        "protocols": service.protocols,
        "addresses": service.addresses,
        "not_expanded": [TEREDO] if hidden(ruleset, service) else [],
    }


def _batches(pieces: Iterator[str]) -> Iterator[str]:
    while batch := "".join(itertools.islice(pieces, _BATCH)):
        yield batch
