# SPDX-License-Identifier: Apache-2.0
"""Descriptions of JSON values that decode them and check every bound on the way.

    INPUT = record(Input, kind=choice("policy", "list"), name=text(255), build_epoch=optional(whole(0, LAST)))
    INPUT(decode(content, Bounds(1 << 16, 1_000)))

A field takes a value as `json` decoded it and returns the value that the program uses, or raises Invalid with the
place. So a hostile file is refused here: as too large before it is parsed, or at the first value out of bounds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from geodrop.formats import FIRST, LARGEST, by_newer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.formats import NumberedFormat

T = TypeVar("T")
Record = TypeVar("Record")

Field = Callable[[object], T]
"""Decodes one value; raises Invalid."""

LAST_MOMENT = 9_214_646_400
"""2262-01-01 in seconds since the epoch. Kernels count nanoseconds in a signed 64-bit number, which ends that year."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_INNERMOST = re.compile(rb"[\[{][^\[\]{}]*+[\]}]")
_LONG_NUMBER = re.compile(rb"[0-9.+\-eE]{40}")
_SHOWN = 40

MAX_DEPTH = 12
"""The deepest value, the ports of a service, is inside seven lists and objects."""

_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]*")


class Bounds(NamedTuple):
    """How many bytes and how many values a JSON text may have. The number of values determines the memory it needs."""

    size: int
    values: int


class Invalid(ValueError):  # noqa: N818 - the name reads as a fact about a value
    """A value is wrong: `what` says how, `place` is the path to it, as in services[2].tcp[0]."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.place = ""

    def inside(self, step: str) -> Invalid:
        """Put one more step in front of the place; returns this error."""
        self.place = step + ("." if self.place and not self.place.startswith("[") else "") + self.place
        return self

    def __str__(self) -> str:
        return f"{self.place}: {self.what}" if self.place else self.what


class Newer(Invalid):
    """It has a later format than this release reads; `number` is that format."""

    def __init__(self, number: int) -> None:
        super().__init__(by_newer(number))
        self.number = number


def decode(content: bytes, bounds: Bounds) -> object:
    """Decode a JSON text to dictionaries, lists and scalars. Raises Invalid.

    The memory it needs is known before it is parsed: outside of strings, each value has a comma or an opening bracket.
    Duplicate keys, NaN and infinities, and deep nesting are refused.
    """
    if len(content) > bounds.size:
        raise Invalid(f"{len(content):,} bytes of JSON, {bounds.size:,} is the most")
    bare = _STRING.sub(b"", content)
    if (values := sum(map(bare.count, (b",", b"[", b"{")))) > bounds.values:
        raise Invalid(f"{values:,} values, {bounds.values:,} is the most")
    if found := _LONG_NUMBER.search(bare):
        raise Invalid(f"a number of more than {len(found[0]) - 1} digits")
    for _ in range(MAX_DEPTH):
        bare = _INNERMOST.sub(b"", bare)
    if b"[" in bare or b"{" in bare:
        raise Invalid(f"no JSON, or more than {MAX_DEPTH} lists and objects inside each other")
    try:
        return json.loads(content, object_pairs_hook=_object, parse_constant=_constant)
    except Invalid:
        raise
    except ValueError as error:
        raise Invalid(f"no JSON ({error})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise Invalid(f"the key {shown(next(name for name in names if names.count(name) > 1))} twice")
    return found


def _constant(name: str) -> NoReturn:
    raise Invalid(f"{name}, which is no number")


def shown(value: object) -> str:
    """Return a value for a message: short, and without terminal control characters."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def whole(least: int, most: int) -> Field[int]:
    """Return a field for a whole number."""

    def field(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Invalid(f"{shown(value)} is no whole number from {least} to {most}")
        return value

    return field


def number(least: float, most: float) -> Field[float]:
    """Return a field for a number, whole or not."""

    def field(value: object) -> float:
        if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
            raise Invalid(f"{shown(value)} is no number from {least:g} to {most:g}")
        return float(value)  # type: ignore[arg-type]

    return field


def text(most: int, form: re.Pattern[str] = _PRINTABLE) -> Field[str]:
    """Return a field for a text of at most `most` characters that matches `form` (default: no control characters)."""

    def field(value: object) -> str:
        if type(value) is not str:
            raise Invalid(f"{shown(value)} is no text")
        if len(value) > most:
            raise Invalid(f"a text of {len(value):,} characters, {most:,} is the most")
        if not form.fullmatch(value):
            raise Invalid(f"{shown(value)} is not allowed here")
        return value

    return field


def choice(*known: str) -> Field[str]:
    """Return a field for one of the `known` words."""
    words = {word: word for word in known}

    def field(value: object) -> str:
        if type(value) is not str or value not in words:
            raise Invalid(f"{shown(value)} is none of {', '.join(word or 'nothing' for word in known)}")
        return words[value]

    return field


def flag(value: object) -> bool:
    """Decode true or false."""
    if type(value) is not bool:
        raise Invalid(f"{shown(value)} is neither true nor false")
    return value


def optional(field: Field[T]) -> Field[T | None]:
    """Return a field for a value or null."""
    return lambda value: None if value is None else field(value)


def listing(field: Field[T], most: int, least: int = 0) -> Field[tuple[T, ...]]:
    """Return a field for a list of values."""

    def decode_all(value: object) -> tuple[T, ...]:
        if type(value) is not list:
            raise Invalid(f"{shown(value)} is no list")
        if not least <= len(value) <= most:
            raise Invalid(f"{len(value):,} of them, not {least} to {most:,}")
        decoded: list[T] = []
        try:
            decoded.extend(map(field, value))
        except Invalid as invalid:
            raise invalid.inside(f"[{len(decoded)}]") from None
        return tuple(decoded)

    return decode_all


def mapping(key: Field[str], field: Field[T], most: int) -> Field[dict[str, T]]:
    """Return a field for an object whose keys are data."""

    def decode_all(value: object) -> dict[str, T]:
        if type(value) is not dict:
            raise Invalid(f"{shown(value)} is no object")
        if len(value) > most:
            raise Invalid(f"{len(value):,} of them, {most:,} is the most")
        decoded = {}
        for name, content in value.items():
            try:
                decoded[key(name)] = field(content)
            except Invalid as invalid:
                raise invalid.inside(shown(name)) from None
        return decoded

    return decode_all


def anything(value: object) -> object:
    """Return the value unchecked: another decoder checks it."""
    return value


def span(least: int, most: int) -> Field[tuple[int, int]]:
    """Return a field for two whole numbers, first and last."""
    ends = listing(whole(least, most), 2, 2)

    def field(value: object) -> tuple[int, int]:
        first, last = ends(value)
        if first > last:
            raise Invalid(f"{first} to {last} runs backwards")
        return first, last

    return field


def record(
    make: Callable[..., Record], optional_keys: Sequence[str] = (), *, others: bool = False, **fields: Field[Any]
) -> Field[Record]:
    """Return a field for an object with these keys, passed to `make` by name; `optional_keys` may be missing.

    `others`: unknown keys are ignored, because a later version may have added them; otherwise they are refused.
    """
    wanted, left_out = set(fields), set(optional_keys)

    def field(value: object) -> Record:
        if type(value) is not dict:
            raise Invalid(f"{shown(value)} is no object")
        if value.keys() != wanted:
            if missing := sorted(wanted - left_out - value.keys()):
                raise Invalid(f"has no {missing[0]}")
            if not others and (unknown := value.keys() - wanted):
                raise Invalid(f"has a key {shown(min(unknown))} that nothing reads")
        decoded = {}
        for name, decode_one in fields.items():
            if name in value:
                try:
                    decoded[name] = decode_one(value[name])
                except Invalid as invalid:
                    raise invalid.inside(name) from None
        return make(**decoded)

    return field


FORMAT = "format"
"""The key with the number of the format, in every file that is a JSON object."""

_NUMBER = whole(FIRST, LARGEST)


def numbered(form: NumberedFormat, own: Field[T], before: Field[T]) -> Field[T]:
    """Return a field for an object with the number of its format: `own` decodes that of this release, `before` the one
    before. Raises Newer for a later one.
    """

    def field(value: object) -> T:
        if type(value) is not dict:
            raise Invalid(f"{shown(value)} is no object")
        number = _NUMBER(value.get(FORMAT, FIRST))
        if number > form.number:
            raise Newer(number)
        if not form.reads(number):
            raise Invalid(f"has format {number}, which is no longer read")
        return (own if number == form.number else before)({key: one for key, one in value.items() if key != FORMAT})

    return field
