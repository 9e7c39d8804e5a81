# SPDX-License-Identifier: Apache-2.0
"""Resolve groups and names of the atlas: which lines of `allow` or `deny` lead to which members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.policy import atlas
from geodrop.policy.model import LineKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from geodrop.policy.model import Line


def open_groups(groups: Mapping[str, tuple[Line, ...]], lines: Iterable[Line]) -> Iterator[tuple[Line, Line]]:
    """Yield each line with each member it leads to, in the order written; a line that is no group leads to itself.

    A line of the atlas leads to the codes that it stands for, so no member is a group or of the atlas.
    Every group is opened once, for the first line that reaches it: opening it again would add nothing, and groups that
    name the next one twice would double with every level. So cycles end too. Unknown groups are empty.
    """
    opened = set()
    for line in lines:
        stack = [line]
        while stack:
            member = stack.pop()
            if member.kind in atlas.KINDS:
                yield from ((line, one) for one in atlas.members(member))
            elif member.kind is not LineKind.GROUP:
                yield line, member
            elif member.name not in opened:
                opened.add(member.name)
                stack.extend(reversed(groups.get(member.name, ())))
