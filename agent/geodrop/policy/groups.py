"""Groups opened: which lines of `allow` or `deny` lead to which members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.policy.model import LineKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from geodrop.policy.model import Line


def open_groups(groups: Mapping[str, tuple[Line, ...]], lines: Iterable[Line]) -> Iterator[tuple[Line, Line]]:
    """Each line with each member it leads to, itself if it is no group, in the order written.

    Every group is opened once, for the line that comes to it first: a second time says nothing new, and groups that
    name each other twice would otherwise double with every level. So cycles end too; unknown groups are empty.
    """
    opened = set()
    for line in lines:
        stack = [line]
        while stack:
            member = stack.pop()
            if member.kind is not LineKind.GROUP:
                yield line, member
            elif member.name not in opened:
                opened.add(member.name)
                stack.extend(reversed(groups.get(member.name, ())))
