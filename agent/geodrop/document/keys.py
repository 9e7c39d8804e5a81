"""The keys that a table of a file may have, each with what it means: one description, for readers and for checking.

`shape.fields` takes nothing else, so that no key can be read that the reference does not explain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

NAME = "NAME"
"""Stands for a key that the operator chooses."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a key means, in Markdown, as the right-hand side of a table; and the keys of the table that is its value.

    `named`: its value is a table of names, and `keys` are those of what each name stands for.
    """

    meaning: str
    keys: Keys = field(default_factory=dict)
    named: bool = False


Keys = Mapping[str, Key]


def paths(keys: Keys, above: str = "") -> Iterator[tuple[str, str]]:
    """Every key with its place in the file, such as `services.NAME.mode`, and its meaning; parents come first."""
    for name, key in keys.items():
        path = f"{above}{name}{f'.{NAME}' if key.named else ''}"
        yield path, key.meaning
        yield from paths(key.keys, f"{path}.")
