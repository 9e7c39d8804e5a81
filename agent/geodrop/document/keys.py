# SPDX-License-Identifier: Apache-2.0
"""The keys that a table of a file may have, with their meanings: one description for documentation and for checking.

`shape.fields` takes only this description, so every key that can be read is explained in the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

NAME = "NAME"
"""Stands for a key that the operator chooses."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key: its meaning, as a Markdown table cell, and the keys of its value if that is a table.

    `named`: the value is a table with names as keys, and `keys` are those of the value of each name.
    """

    meaning: str
    keys: Keys = field(default_factory=dict)
    named: bool = False


Keys = Mapping[str, Key]


def paths(keys: Keys, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key's place in the file, such as `services.NAME.mode`, and its meaning; parents come first."""
    for name, key in keys.items():
        path = f"{above}{name}{f'.{NAME}' if key.named else ''}"
        yield path, key.meaning
        yield from paths(key.keys, f"{path}.")
