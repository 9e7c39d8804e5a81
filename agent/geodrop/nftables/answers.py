# SPDX-License-Identifier: Apache-2.0
"""Look up many addresses in the kernel's maps at a time.

One request for each address costs a system call and a wait for the interpreter's lock, which a thread that loads gives
up rarely: with a hundred requests, `status` waited for seconds beside a load.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from geodrop.nftables import exempt, names
from geodrop.nftables.netlink import elements, messages
from geodrop.nftables.netlink.uapi import KeyType
from geodrop.ruleset.intervals import WIDTH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from geodrop.nftables.model import MapHeader
    from geodrop.nftables.netlink.connection import Connection
    from geodrop.nftables.netlink.expressions import RuleVerdict
    from geodrop.nftables.netlink.timed import TimedInterval

    Element = tuple[bytes, bool, RuleVerdict | None]
    Found = tuple[Element | None, Element | None]
    """The element that holds an address, and the end element behind it; None where there is none."""

_WIDTH = {KeyType.IPV4_ADDR: WIDTH[4], KeyType.IPV6_ADDR: WIDTH[6]}


class Answers:
    """Answers of the maps so far. Use it for one reading only: nothing is looked up twice."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._found: dict[tuple[str, bytes], Found] = {}
        self._exempt: dict[int, list[TimedInterval]] = {}

    def ask_ahead(self, maps: Iterable[MapHeader], addresses: Collection[bytes]) -> None:
        """Look up addresses (big-endian, 4 or 16 bytes) in each map of their width."""
        by_width = {width: {one for one in addresses if len(one) == width} for width in _WIDTH.values()}
        self._ask([(one.name, address) for one in maps for address in by_width.get(_WIDTH.get(one.key, 0), ())])

    def of(self, name: str, key: bytes) -> Found:
        """Return what a map holds for a key (big-endian)."""
        if (name, key) not in self._found:
            self._ask([(name, key)])
        return self._found[name, key]

    def holds(self, name: str, key: bytes) -> bool:
        """Tell whether one of the sets of exempt sources holds an address (big-endian). A set is read once, whole."""
        family = next((family for family, known in names.EXEMPT.items() if known == name), None)
        if family is None:
            return False
        if family not in self._exempt:
            self._exempt[family] = exempt.read(self._connection, family)
        ranges, number = self._exempt[family], int.from_bytes(key, "big")
        at = bisect.bisect_right(ranges, number, key=lambda one: one.first)
        return at > 0 and number <= ranges[at - 1].last

    def _ask(self, wanted: Sequence[tuple[str, bytes]]) -> None:
        requests = [messages.get_element(name, key, end=end) for name, key in wanted for end in (False, True)]
        answers = [None if answer is None else _element(answer) for answer in self._connection.ask(requests)]
        self._found.update(zip(wanted, zip(answers[::2], answers[1::2], strict=True), strict=True))


def _element(answer: memoryview) -> Element:
    [element] = elements.decode([messages.read_elements(answer)])
    return element
