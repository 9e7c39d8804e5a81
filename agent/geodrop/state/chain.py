# SPDX-License-Identifier: Apache-2.0
"""The chain of the history: each line names the SHA-256 of the line before it, so nothing can be changed in between.

A hash is taken of the bytes of a line as they are in the file, without the line break. The first record of a host has
the number 1 and names no line before it. Who rewrites the whole file can make a new chain; so each record's hash also
goes to the journal (state.announce), and one hash kept elsewhere proves all that came before it.

Lines that wait in /run (state.unwritten) are links already: the hash told to the journal stays true.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, NamedTuple

from geodrop.inputs import open_regular
from geodrop.state.entry import MAX_LINE, line_of, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from geodrop.state.entry import Entry, Pruned

MAX_SAID = 100
"""Most faults that are described; beyond that they are only counted."""

_PIECE = 1 << 16

NEXT = "compare with a copy, or with the records in the journal: journalctl GEODROP_EVENT=recorded"


class ChainLink(NamedTuple):
    """The end of a chain: the number of the last record, the hash of its line, and the bytes of a cut line after it."""

    number: int = 0
    digest: str = ""
    cut: int = 0

    def next(self, entry: Entry) -> Entry:
        """Return an entry as the next record."""
        return replace(entry, number=self.number + 1, previous=self.digest, cut=min(self.cut, MAX_LINE))


class ChainLine(NamedTuple):
    """A line of the file, without its line break: at most MAX_LINE bytes of it, its hash, and whether it has an end."""

    content: bytes
    digest: str
    size: int
    whole: bool


class Fault(NamedTuple):
    """What is wrong at a line of the file, counted from 1."""

    line: int
    what: str


class Gap(NamedTuple):
    """Missing records, before a line of the file: from the last one that is there, with its hash, to the next one."""

    line: int
    before: int
    before_digest: str
    after: Entry
    after_digest: str


@dataclass(slots=True)
class Checked:
    """The result of a check: how many records there are, the times of the first and last, the head, and the `faults`.

    `numbers` are the numbers of the records by hash, of those hashes that were asked for. `cut` are the numbers of
    records before which a line was cut off.
    """

    records: int = 0
    first: float = 0.0
    last: float = 0.0
    head: ChainLink = field(default_factory=ChainLink)
    faults: list[Fault] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    pruned: list[Pruned] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)


def digest_of(line: bytes) -> str:
    """Return the hash of a line without its line break."""
    return hashlib.sha256(line).hexdigest()


def lines(file: IO[bytes]) -> Iterator[ChainLine]:
    """Yield each line; at most MAX_LINE bytes are held at a time."""
    while content := (piece := file.readline(MAX_LINE)):
        size, hashed = len(piece), hashlib.sha256(piece.removesuffix(b"\n"))
        while piece and not piece.endswith(b"\n"):
            piece = file.readline(MAX_LINE)
            size += len(piece)
            hashed.update(piece.removesuffix(b"\n"))
        yield ChainLine(content.removesuffix(b"\n"), hashed.hexdigest(), size, bool(piece))


def end_of(path: Path) -> ChainLink:
    """Return the end of the chain in a file; the empty link if there is no file. Raises OSError."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return ChainLink()
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        for reach in (_PIECE, 2 * MAX_LINE):
            start = max(size - reach, 0)
            file.seek(start)
            # A piece that does not begin with the file begins inside a line.
            found = file.read(reach).split(b"\n")[1 if start else 0 :]
            entry = parse(found[-2]) if len(found) > 1 else None
            if entry and entry.number:
                return ChainLink(entry.number, digest_of(found[-2]), len(found[-1]))
        file.seek(0)
        return _counted(lines(file))


def _counted(found: Iterable[ChainLine]) -> ChainLink:
    """Return the end of a chain whose last line cannot be read: such a line counts as one record."""
    end = ChainLink()
    for line in found:
        if not line.whole:
            return end._replace(cut=line.size)
        entry = parse(line.content)
        end = ChainLink(entry.number if entry and entry.number else end.number + 1, line.digest)
    return end


def waiting(held: Sequence[str], end: ChainLink) -> tuple[list[bytes], ChainLink]:
    """Return the lines that wait in /run and are not in the file whose chain ends at `end`, and the end after them.

    A process that ended between writing them and forgetting them leaves lines that are in the file already. Lines that
    were chained while the file could not be read are chained again. A line with a later number stays as it is: those
    between are lost, and a check has to find that.
    """
    content = [line.encode() for line in held]
    known = [digest_of(line) for line in content]
    if end.digest in known:
        del content[: known.index(end.digest) + 1]
    left = []
    for line in content:
        entry, chained = parse(line), line
        follows = entry is None or (entry.number, entry.previous) == (end.number + 1, end.digest)
        if entry and not entry.newer and not follows and entry.number <= end.number + 1:
            chained = line_of(end.next(entry))
        left.append(chained)
        end = ChainLink(max(entry.number if entry else 0, end.number + 1), digest_of(chained))
    return left, end


def check(found: Iterable[ChainLine], heads: Sequence[str] = ()) -> Iterator[Checked | None]:
    """Check a chain, line by line: yields None after each line, and the result at the end.

    `heads` are hashes to look for, or their beginnings.
    """
    result, gaps, there, read = Checked(), list[Gap](), dict[int, str](), True
    for number, line in enumerate(found, 1):
        if not line.whole:
            said = (
                f"cut off after {line.size:,} bytes, as by a power cut; the next record goes on after the line before"
            )
            _say(result, Fault(number, said))
            continue
        entry, before = parse(line.content), result.head
        _look(result, line, entry, number, gaps, trusted=read)
        read = entry is not None
        reached = entry.number if entry and entry.number else before.number + 1
        result.head = ChainLink(reached, line.digest)
        there[reached] = line.digest
        result.numbers |= {head: reached for head in heads if line.digest.startswith(head)}
        yield None
    for number, digest in _stayed(result.pruned).items():
        if there.get(number) != digest:
            _say(result, Fault(1, f"record {number:,}, which stayed when older ones were forgotten, is missing"))
    for gap in gaps:
        if not any(_forgot(pruned, gap) for pruned in result.pruned):
            _say(result, Fault(gap.line, f"{_records(gap.before + 1, gap.after.number - 1)} missing before it"))
    result.faults.sort()
    yield result


def _look(  # noqa: PLR0913 - the line, and all that is known before it
    result: Checked, line: ChainLine, entry: Entry | None, number: int, gaps: list[Gap], *, trusted: bool
) -> None:
    """Compare a line with what the line before it leads to; `trusted`: that one could be read."""
    result.records += 1
    if entry is None:
        _say(result, Fault(number, "cannot be read: it was altered, or written by another program"))
        return
    result.first, result.last = result.first or entry.time, entry.time
    before = result.head
    if entry.cut:
        result.cut.append(entry.number)
    if entry.pruned:
        result.pruned.append(entry.pruned)
    if entry.number > before.number + 1:
        gaps.append(Gap(number, before.number, before.digest, entry, line.digest))
    elif entry.number <= before.number:
        what = f"record {entry.number:,}" if entry.number else "a line without a number"
        _say(
            result, Fault(number, f"{what} comes after record {before.number:,}: written by another program, or moved")
        )
    elif entry.previous != before.digest and trusted:
        where = Fault(number - 1, "altered: the next line names another hash of it") if number > 1 else None
        _say(result, where or Fault(1, "altered: the first record names a line before it"))


def _stayed(pruned: Sequence[Pruned]) -> dict[int, str]:
    """Return the numbers of older records that stayed each time when others were forgotten, with their hashes."""
    stayed: dict[int, str] = {}
    for one in pruned:
        kept = {int(number): digest for number, digest in one.kept.items()}
        stayed = {number: digest for number, digest in stayed.items() if number > one.through} | kept
    return stayed


def _forgot(pruned: Pruned, gap: Gap) -> bool:
    """Tell whether the records of a gap were forgotten by `keep.audit`, and nothing else."""
    kept = {int(number): digest for number, digest in pruned.kept.items()}
    known_before = gap.before == 0 or kept.get(gap.before) == gap.before_digest
    if gap.after.number == pruned.through + 1:
        return known_before and gap.after.previous == pruned.digest
    return known_before and kept.get(gap.after.number) == gap.after_digest


def _records(first: int, last: int) -> str:
    return f"record {first:,} is" if first == last else f"records {first:,} to {last:,} are"


def _say(result: Checked, fault: Fault) -> None:
    if len(result.faults) < MAX_SAID:
        result.faults.append(fault)
