# SPDX-License-Identifier: Apache-2.0
"""What `explain` can be asked about: an address, an address with a client's port, or a prefix, as logs have them."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from geodrop.addresses import network_of
from geodrop.errors import DataError
from geodrop.ruleset.model import Embedding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.ruleset.explain import Address
    from geodrop.ruleset.model import Ruleset

MAX_INTERVALS = 20_000
"""Most intervals of a prefix. Going through them takes some 20 ms, in which the daemon answers no other request."""

NEXT_STEP = "write 192.0.2.1, 192.0.2.1:443, [2001:db8::1]:443 or 192.0.2.0/24"

ALL_IPV4 = (1 << 32) - 1

_BRACKETS = re.compile(r"\[(?P<address>[^]/]*)\](?::(?P<port>[0-9]{1,5}))?")
_ZONE = re.compile("%[^]/]*")
"""The interface of a link-local address (RFC 4007, 11). No verdict depends on it."""
_WITH_PORT = re.compile(r"(?P<address>[0-9.]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked about: the `text` as given, and the network of one or more addresses that it means."""

    text: str
    network: IPv4Network | IPv6Network

    @property
    def single(self) -> bool:
        """Whether the question is about one address."""
        return self.network.prefixlen == self.network.max_prefixlen

    @property
    def kind(self) -> str:
        """Whether the question is about an "address" or a "prefix"."""
        return "address" if self.single else "prefix"


@dataclass(frozen=True, slots=True)
class Piece:
    """Addresses of a question that are judged alike: one of them, and their number (None for IPv6).

    Of a question about a region also the number of IPv6 /48s, and the share of its IPv4 addresses, 0.0 to 1.0.
    """

    address: Address
    count: int | None
    ipv6_48s: int = 0
    ipv4_share: float = 0.0


def parse(text: str) -> Question:
    """Parse what a person types or a log contains. Raises DataError."""
    plain = _ZONE.sub("", text, count=1) if ":" in text else text
    found = _BRACKETS.fullmatch(plain) or _WITH_PORT.fullmatch(plain)
    try:
        if found and int(found["port"] or 0) < 1 << 16:
            # The port is the client's: it says nothing about the service, and no verdict depends on it.
            plain = found["address"]
        return Question(text, network_of(plain, strict=False))
    except ValueError:
        raise DataError(f"{text!r} is neither an address nor a prefix", NEXT_STEP) from None


def pieces(ruleset: Ruleset, asked: Question) -> list[Piece]:
    """Return the parts of a question that are judged alike, by first address. Raises DataError for too many."""
    first, last = int(asked.network[0]), int(asked.network[-1])
    found: dict[tuple[int, int], Piece] = {}
    for zone, start, end in intervals_of(ruleset, asked.network.version, first, last):
        if embedding := ruleset.meta.zones[zone].embedding:
            # The embedded address is judged: make one piece for each zone that embedded addresses fall into.
            low, high = _held(Embedding(embedding), start, end)
            for inside, held, _ in intervals_of(ruleset, 4, low, high):
                found.setdefault((zone, inside), Piece(_holding(Embedding(embedding), start, held), None))
            continue
        before = found.get((zone, zone))
        if asked.network.version == 6:
            found.setdefault((zone, zone), Piece(IPv6Address(start), None))
        else:
            count = end - start + 1 + (before.count or 0 if before else 0)
            found[zone, zone] = Piece(before.address if before else IPv4Address(start), count)
    return list(found.values())


def intervals_of(ruleset: Ruleset, family: int, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Yield zone, first and last address of each interval in a range."""
    zones = ruleset.sections[f"ipv{family}/zones"].cast("H")
    starts = ruleset.sections[f"ipv{family}/starts"]
    words = starts.cast("I") if family == 4 else None

    def start(number: int) -> int:
        return words[number] if words else int.from_bytes(starts[16 * number : 16 * number + 16], "big")

    numbers = range(len(zones))
    low = bisect.bisect_right(numbers, first, key=start) - 1
    high = bisect.bisect_right(numbers, last, key=start)
    if high - low > MAX_INTERVALS:
        raise DataError(f"the prefix holds {high - low:,} intervals, {MAX_INTERVALS:,} is the most", "ask about a part")
    for number in range(low, high):
        end = start(number + 1) - 1 if number + 1 < high else last
        yield zones[number], max(start(number), first), end


def _held(embedding: Embedding, start: int, end: int) -> tuple[int, int]:
    """Return the first and last IPv4 address embedded in the addresses of a range."""
    if embedding is not Embedding.TEREDO:
        return embedding.extract(start), embedding.extract(end)
    # Teredo embeds in the low 32 bits, inverted: a range in which the high bits change holds every IPv4 address.
    return (embedding.extract(end), embedding.extract(start)) if start >> 32 == end >> 32 else (0, ALL_IPV4)


def _holding(embedding: Embedding, start: int, held: int) -> Address:
    """Return an address, of the range that begins at `start`, that embeds the IPv4 address `held`."""
    if embedding is Embedding.SIXTOFOUR:
        return IPv6Address(max(start, start >> 112 << 112 | held << 80))
    low = held ^ ALL_IPV4 if embedding is Embedding.TEREDO else held
    return IPv6Address(start >> 32 << 32 | low)
