# SPDX-License-Identifier: Apache-2.0
import json
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest

from geodrop.ruleset.fields import (
    Bounds,
    Field,
    Invalid,
    choice,
    decode,
    flag,
    listing,
    mapping,
    number,
    optional,
    record,
    span,
    text,
    whole,
)

BOUNDS = Bounds(1 << 20, 1_000)


@dataclass
class Thing:
    """The class that a record is decoded to."""

    size: int
    name: str = ""


THING = record(Thing, ("name",), size=whole(0, 9), name=text(5))
OPEN = record(Thing, ("name",), others=True, size=whole(0, 9), name=text(5))


@pytest.mark.parametrize(
    ("field", "value", "decoded"),
    [
        (whole(-1, 5), -1, -1),
        (number(0, 5), 5, 5.0),
        (text(3), "äöü", "äöü"),
        (choice("a", "b"), "b", "b"),
        (flag, False, False),
        (optional(flag), None, None),
        (listing(flag, 2), [True, False], (True, False)),
        (span(0, 9), [3, 3], (3, 3)),
        (mapping(text(2), flag, 2), {"a": True}, {"a": True}),
        (THING, {"size": 1}, Thing(1)),
        (THING, {"size": 1, "name": "x"}, Thing(1, "x")),
        (OPEN, {"size": 1, "later": {}}, Thing(1)),
    ],
)
def test_what_is_in_bounds_is_decoded(field: Field[Any], value: object, decoded: object) -> None:
    """Values are decoded, including those on the bounds."""
    assert field(value) == decoded


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (whole(0, 5), 6, "6 is no whole number from 0 to 5"),
        (whole(0, 5), -1, "-1 is no"),
        (whole(0, 5), 10**400, r"10+\.\.\. is no"),
        (whole(0, 5), True, "true is no"),
        (whole(0, 5), 1.0, "1.0 is no"),
        (whole(0, 5), "1", '"1" is no'),
        (whole(0, 5), None, "null is no"),
        (number(0, 5), 5.1, "5.1 is no number"),
        (number(0, 5), float("nan"), "NaN is no number"),
        (number(0, 5), float("inf"), "Infinity is no number"),
        (number(0, 5), [], "a list is no number"),
        (text(3), "abcd", "4 characters, 3 is the most"),
        (text(9), "a\x1b[2J", "not allowed here"),
        (text(9), "a\u202eb", "not allowed here"),
        (text(9), "a\nb", "not allowed here"),
        (text(9), 5, "5 is no text"),
        (choice("a", "b"), "c", '"c" is none of a, b'),
        (choice("a", "b"), {}, "an object is none of"),
        (flag, 1, "1 is neither"),
        (listing(flag, 2), [True] * 3, "3 of them"),
        (listing(flag, 2), {"0": True}, "an object is no list"),
        (listing(listing(flag, 2), 2), [[], [True, 0]], r"^\[1\]\[1\]: 0 is neither"),
        (span(0, 9), [3, 2], "3 to 2 runs backwards"),
        (span(0, 9), [3], "1 of them"),
        (mapping(text(2), flag, 2), {"a": 1}, '^"a": 1 is neither'),
        (mapping(text(2), flag, 2), {"abc": True}, "3 characters"),
        (mapping(text(2), flag, 1), {"a": True, "b": True}, "2 of them"),
        (THING, {}, "has no size"),
        (THING, {"size": 1, "later": 1}, '"later" that nothing reads'),
        (THING, {"size": 10}, "^size: 10 is no"),
        (THING, [], "a list is no object"),
        (record(Thing, ("name",), size=listing(THING, 2)), {"size": [{"size": 99}]}, r"^size\[0\]\.size: 99 is no"),
    ],
)
def test_what_is_not_is_named_with_its_place(field: Field[Any], value: object, message: str) -> None:
    """The message has the path to the value, the shortened value, and what is allowed there."""
    with pytest.raises(Invalid, match=message):
        field(value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b'{"a": 1', "no JSON"),
        (b'{"a": 1, "a": 2}', 'the key "a" twice'),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"1" * 5000, "digits"),
        (b"[1" + b"0" * 300 + b"e5]", "digits"),
        (b"[" * 900 + b"]" * 900, "inside each other"),
        (b"[" * 100_000, "values"),
        (b'"' + b" " * (1 << 20) + b'"', "bytes of JSON"),
        (b"[" + b"{}," * 1000 + b"0]", "values"),
        (b'"' + b"\\" * 9999, "no JSON"),
    ],
)
def test_texts_that_are_none(content: bytes, message: str) -> None:
    """A text written to make a reader fail, or to fill its memory, is refused."""
    with pytest.raises(Invalid, match=message):
        decode(content, BOUNDS)


def test_what_stands_in_strings_is_no_value() -> None:
    """Braces, commas and digits inside strings are not counted, however they are escaped."""
    value = {"policy": '[{,"\\' * 2_000 + "1" * 5000, "rows": [1, 2.5, -3, None]}
    assert decode(json.dumps(value).encode(), BOUNDS) == value


def test_memory_is_bounded_before_it_is_needed() -> None:
    """A text refused for its number of values costs no more memory than its own size."""
    content = b"[" + b"{}," * 2_000_000 + b"0]"
    tracemalloc.start()
    with pytest.raises(Invalid):
        decode(content, Bounds(1 << 30, 1_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(content)
