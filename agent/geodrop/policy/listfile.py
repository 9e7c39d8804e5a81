# SPDX-License-Identifier: Apache-2.0
"""Read list files: a prefix, range (a-b) or address a line, `#` comments, blank lines. They may be large."""

from __future__ import annotations

from array import array
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from typing import TYPE_CHECKING, NamedTuple

from geodrop.addresses import address_of
from geodrop.document.problems import Position, ProblemReport, shown
from geodrop.document.shape import UnreadableError
from geodrop.policy.listformats import Format, format_of_file, format_of_line
from geodrop.policy.values import parse_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geodrop.policy.model import Network

MAX_PREFIXES = 2_000_000
"""Most prefixes of one file, a range counted as its prefixes; several times the world."""

MAX_FOREIGN = 1_000
"""Lines of other formats after which reading stops; a file may have millions of them."""


class ListFile(NamedTuple):
    """The prefixes of a list file in the order written, the number of the line of each, and the problems found."""

    prefixes: tuple[Network, ...]
    lines: Sequence[int]
    report: ProblemReport


def read_list_file(data: bytes, file: str) -> ListFile:
    """Read a list file, whose name is for messages. Comments need not be UTF-8."""
    if whole := format_of_file(data):
        report = ProblemReport(file, ())
        report.error(Position(file, 1, 1), f"{whole.what}; {whole.instead}")
        return ListFile((), (), report)
    lines = data.decode(errors="replace").removeprefix("\ufeff").split("\n")
    report = ProblemReport(file, lines)
    foreign = _Foreign()
    networks: list[Network] = []
    at = array("I")
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        try:
            if "-" in entry:
                networks.extend(_range(entry))
            else:
                networks.append(parse_prefix(entry))
            at.extend([number] * (len(networks) - len(at)))
        except UnreadableError as error:
            place = Position(file, number, line.index(entry) + 1)
            # In other formats, # may be part of a name.
            if found := format_of_line(entry) or format_of_line(line.strip()):
                foreign.add(found, place, entry)
                if foreign.full:
                    break
            else:
                report.error(place, str(error))
        if len(networks) > MAX_PREFIXES:
            report.error(Position(file, number, 1), f"more than {MAX_PREFIXES:,} prefixes; use a coarser list")
            break
    foreign.tell(report)
    if not data.strip():
        # A failed download leaves an empty file, and the policy would then have another meaning.
        message = "the file is empty; put prefixes into it, or a comment (#) if it is meant to be empty"
        report.error(Position(file, 1, 1), message)
    return ListFile(tuple(networks), at, report)


class _Foreign:
    """Lines of other formats: one error for each format, at its first line, instead of one for each line."""

    def __init__(self) -> None:
        self._first: dict[Format, tuple[Position, str]] = {}
        self._count: dict[Format, int] = {}

    @property
    def full(self) -> bool:
        """Whether enough of these lines were read to stop."""
        return sum(self._count.values()) >= MAX_FOREIGN

    def add(self, found: Format, place: Position, entry: str) -> None:
        """Count one more line."""
        self._first.setdefault(found, (place, entry))
        self._count[found] = self._count.get(found, 0) + 1

    def tell(self, report: ProblemReport) -> None:
        """Report one error for each format."""
        for found, (place, entry) in self._first.items():
            if found.weak and not all(other.weak for other in self._first):
                continue
            others = self._count[found] - 1
            most = "at least " if self.full else ""
            more = f", like {most}{others:,} more line{'s' if others > 1 else ''}" if others else ""
            report.error(place, f"{shown(entry)} {found.what}{more}; {found.instead}")


def _range(entry: str) -> Iterable[Network]:
    first, _, last = (part.strip() for part in entry.partition("-"))
    try:
        low, high = address_of(first), address_of(last)
    except ValueError as error:
        message = f"{shown(entry)} is not a range ({error}); write two addresses, such as 198.51.100.0-198.51.100.63"
        raise UnreadableError(message) from None
    if isinstance(low, IPv4Address) and isinstance(high, IPv4Address) and low <= high:
        return summarize_address_range(low, high)
    if isinstance(low, IPv6Address) and isinstance(high, IPv6Address) and low <= high:
        return summarize_address_range(low, high)
    if low.version != high.version:
        raise UnreadableError(f"{shown(entry)} mixes IPv4 and IPv6; write two addresses of one kind")
    raise UnreadableError(f"{shown(entry)} runs backwards; write {last}-{first}")
