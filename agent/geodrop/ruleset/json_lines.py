# SPDX-License-Identifier: Apache-2.0
"""The lines of `explain --json` for many addresses: most answers of a zone differ only in the address.

What is not that simple is left to the code that answers anything else: `of` returns nothing for it.
"""

from __future__ import annotations

import bisect
import json
import time
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import iter_unpack
from typing import TYPE_CHECKING

from geodrop.ruleset.explain import SCHEMA, explain_piece
from geodrop.ruleset.question import Piece, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.ruleset.model import Ruleset

OWN = ("schema", "asked", "address")
"""The first keys of an object, which are not the same for all addresses of a zone."""
MAPPED = bytes(10)
"""How addresses begin that may be written with an IPv4 address at their end."""


class JsonLines:
    """Answers questions about single addresses from a ruleset, as of a time in seconds since the epoch, or of now."""

    def __init__(self, ruleset: Ruleset, at: float | None) -> None:
        self._ruleset, self._at = ruleset, at
        # A ramp needs the hash of each source.
        self._simple = not any(service.ramp for service in ruleset.meta.services)
        self._moments = sorted(service.starts for service in ruleset.meta.services if service.starts is not None)
        self._until = 0.0
        self._rests: dict[tuple[int, int], Sequence[str] | None] = {}
        self._named = _named(ruleset)
        self._ipv4 = ruleset.sections["ipv4/starts"].cast("I")
        self._ipv6: list[bytes] = []
        self._zones = {family: ruleset.sections[f"ipv{family}/zones"].cast("H") for family in (4, 6)}

    def of(self, text: str) -> list[str] | None:
        """Return a line for each service; None for anything but a plain address of which there is nothing special."""
        try:
            packed = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
        except (OSError, ValueError):
            return None
        if len(packed) == 4:
            shown, family = text, 4
            at = bisect.bisect_right(self._ipv4, int.from_bytes(packed, "big"))
        elif packed.startswith(MAPPED):
            return None
        else:
            shown, family = inet_ntop(AF_INET6, packed), 6
            self._ipv6 = self._ipv6 or [start for (start,) in iter_unpack("16s", self._ruleset.sections["ipv6/starts"])]
            at = bisect.bisect_right(self._ipv6, packed)
        if not self._simple or self._is_named(family, packed):
            return None
        rests = self._rests_of(self._zones[family][at - 1], family, shown)
        if rests is None:
            return None
        head = f'{{"schema": {SCHEMA}, "asked": "{text}", "address": "{shown}", '
        return [head + rest for rest in rests]

    def _rests_of(self, zone: int, family: int, text: str) -> Sequence[str] | None:
        """Return what follows the address, for each service; None if an IPv4 address inside decides."""
        now = time.time() if self._at is None else self._at
        if now >= self._until:
            # Another service has started, or this is the first time.
            self._rests.clear()
            self._until = next((moment for moment in self._moments if moment > now), float("inf"))
        key = zone, family
        if key not in self._rests:
            asked, piece = parse(text), Piece(ip_address(text), 1 if family == 4 else None)
            answers = [
                explanation.as_json(self._ruleset, asked, piece)
                for explanation in explain_piece(self._ruleset, asked, piece, now)
            ]
            embedded = any(answer["embedded"] for answer in answers)
            self._rests[key] = None if embedded else [_rest(answer) for answer in answers]
        return self._rests[key]

    def _is_named(self, family: int, packed: bytes) -> bool:
        """Return whether a test or a correction of the policy is about an address."""
        if not self._named[family]:
            return False
        number = int.from_bytes(packed, "big")
        return any(number >> rest in known for rest, known in self._named[family].items())


def _named(ruleset: Ruleset) -> dict[int, dict[int, set[int]]]:
    """Return the prefixes of tests and corrections: for each family by the bits that they leave open."""
    found: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
    meta = ruleset.meta
    for prefix in (*(test.prefix for test in meta.tests), *(correction.prefix for correction in meta.corrections)):
        network = ip_network(prefix)
        rest = network.max_prefixlen - network.prefixlen
        found[network.version].setdefault(rest, set()).add(int(network.network_address) >> rest)
    return found


def _rest(answer: dict[str, object]) -> str:
    return json.dumps({name: value for name, value in answer.items() if name not in OWN})[1:]
