# SPDX-License-Identifier: Apache-2.0
"""Bring the JSON part of a ruleset file from the format before to the one of this release. Pure."""

from __future__ import annotations

from geodrop.formats import RULESET


def upgraded(content: object, number: int) -> object:
    """Return the JSON part of a ruleset file in this release's form; `number` is the number of the file's format.

    Format 2 has no numbers of lines, and nothing that nftables counts separately. It is checked only afterwards.
    """
    if number == RULESET.number or not isinstance(content, dict):
        return content
    return content | {
        name: [{key: default} | one if isinstance(one, dict) else one for one in found]
        for name, key, default in (("rows", "at", 0), ("services", "counted", []))
        if isinstance(found := content.get(name), list)
    }
