# SPDX-License-Identifier: Apache-2.0
"""Everything in a ruleset file has bounds: each number and text of the JSON part, and each section."""

import copy
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from geodrop.compile import xdp
from geodrop.ruleset import ordering, schema
from geodrop.ruleset.fields import Invalid
from geodrop.ruleset.meta import meta_json
from geodrop.xdp import layout
from tests.unit.ruleset.test_model import META, sections, u16

JSON: dict[str, Any] = json.loads(json.dumps(meta_json(META)))
SECTIONS = sections()
CORRECTION = {"prefix": "1.0.0.0/8", "country": "CN", "was": ["US"], "at": 4}


def changed(*path: str | int, value: object) -> dict[str, Any]:
    """Return the JSON part with another value at one place."""
    content = copy.deepcopy(JSON)
    at: Any = content
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("services", 0, "tcp"), [[443, 65536]], r"^services\[0\]\.tcp\[0\]\[1\]: 65536 is no"),
        (("services", 0, "tcp"), [[-40_000_000, 443]], r"^services\[0\]\.tcp\[0\]\[0\]: -40000000 is no"),
        (("services", 0, "tcp"), [[443, 70_000_000_000]], "70000000000 is no"),
        (("services", 0, "tcp"), [[443, 442]], "runs backwards"),
        (("services", 0, "tcp"), [[1, 5], [5, 6]], r"^services\[0\]\.tcp\[1\]: does not come after"),
        (("services", 0, "protocols"), [256], r"^services\[0\]\.protocols\[0\]: 256"),
        (("services", 1, "starts"), 1 << 40, r"^services\[1\]\.starts"),
        (("services", 1, "addresses"), ["192.0.2.1/8"], "is no prefix"),
        (("services", 1, "addresses"), ["::ffff"], "is no prefix"),
        (("services", 1, "addresses"), ["fe80::1%\x1b[2J/128"], "is no prefix"),
        (("services", 1, "name"), "api", r"^services\[1\]: .api. is there twice"),
        (("services", 1, "name"), 'x"; flush ruleset; "', r"^services\[1\]\.name"),
        (("services", 1, "mode"), "enforced", r"^services\[1\]\.mode"),
        (("services", 1, "action"), None, r"^services\[1\]\.action"),
        (("services", 0, "counted"), [1], r"^services\[0\]\.counted\[0\]\.klass: 1 is not the number"),
        (("services", 0, "counted"), [-2], r"^services\[0\]\.counted\[0\]: -2"),
        (("services", 0, "targets", 0, "klass"), 1, r"^services\[0\]\.targets\[0\]\.klass: 1 is not the number"),
        (("services", 0, "targets", 0, "klass"), -1, "-1 is not the number of a counter class"),
        (("services", 0, "targets", 0, "klass"), -3, r"^services\[0\]\.targets\[0\]\.klass: -3"),
        (
            ("services", 0, "targets", 0, "kind"),
            "embedded",
            r"^services\[0\]\.targets\[0\]: its kind and",
        ),
        (("services", 0, "targets", 0, "embedding"), "nat44", r"^services\[0\]\.targets\[0\]\.embedding"),
        (("never_drop_tcp",), [[0, 65_536]], r"^never_drop_tcp\[0\]"),
        (("classes",), ["CN", "CN"], r"^classes\[1\]"),
        (("classes",), ["a b"], r"^classes\[0\]"),
        (("zones",), [{}] * 32_768, "^zones: 32,768 of them"),
        (("zones", 0, "region"), "\x1b[2J", r"^zones\[0\]\.region"),
        (("zones", 2, "embedding"), "x", r"^zones\[2\]\.embedding"),
        (("rows", 1, "klass"), -2, r"^rows\[1\]\.klass: -2"),
        (("rows", 1, "klass"), 5, r"^rows\[1\]\.klass: 5 is not the number"),
        (("rows", 1, "verdict"), "pass", r"^rows\[1\]\.verdict"),
        (("rows", 1, "line"), "x" * 300, r"^rows\[1\]\.line: a text of 300"),
        (("inputs",), [{}], r"^inputs\[0\]: has no"),
        (("policy",), "a: \x1b[2J", "^policy"),
        (("database_age",), -5, "^database_age"),
        (("tests", 0, "service"), "nobody", r"^tests\[0\]\.service: .nobody. is no service"),
        (("tests", 0, "prefix"), "1.0.0.1/8", r"^tests\[0\]\.prefix: .* is no prefix"),
        (("tests", 0, "region"), "CN", r"^tests\[0\]: its aim and its region"),
        (("tests", 1, "region"), None, r"^tests\[1\]: its aim and its region"),
        (("tests", 1, "region"), "\x1b[2J", r"^tests\[1\]\.region"),
        (("tests", 1, "at"), 0, r"^tests\[1\]\.at: 0"),
        (("tests", 1, "aim"), "reject", r"^tests\[1\]\.aim"),
        (("tests",), [{}] * 10_001, "^tests: 10,001 of them"),
        (("groups",), [{"name": "eea", "members": ["a b"]}], r"^groups\[0\]\.members\[0\]"),
        (("groups",), [{"name": "eea", "members": []}] * 2, r"^groups\[1\]: .eea. is there twice"),
        (("groups",), [{"name": "\x1b[2J", "members": []}], r"^groups\[0\]\.name"),
        (("drawn", 1, 0, "what"), "AS64496\x1b", r"^drawn\[1\]\[0\]\.what"),
        (("drawn", 1, 0, "what"), "vpn 100", r"^drawn\[1\]\[0\]\.what"),
        (("drawn", 1, 0, "list"), "Cloud", r"^drawn\[1\]\[0\]\.list"),
        (("inputs", 0, "roles", 0, "name"), "city", r"^inputs\[0\]\.roles\[0\]\.name"),
        (("corrections",), [CORRECTION | {"prefix": "1.0.0.1/8"}], r"^corrections\[0\]\.prefix: .* is no prefix"),
        (("corrections",), [CORRECTION | {"country": "cn"}], r"^corrections\[0\]\.country"),
        (("corrections",), [CORRECTION | {"was": ["\x1b"]}], r"^corrections\[0\]\.was\[0\]"),
        (("corrections",), [CORRECTION | {"at": -1}], r"^corrections\[0\]\.at: -1"),
        (("corrections",), [CORRECTION] * 2, r"^corrections\[1\]: .1.0.0.0/8. is there twice"),
        (("bomb",), [], "^has a key"),
    ],
)
def test_the_json_part(path: tuple[str | int, ...], value: object, message: str) -> None:
    """One number or text out of bounds is found and named with its place."""
    schema.meta_of(JSON)
    with pytest.raises(Invalid, match=message):
        schema.meta_of(changed(*path, value=value))


MOST, ALL = schema.MAX_INTERVALS, schema.MAX_INTERVALS_IN_ALL


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([MOST, MOST, MOST, MOST], ""),
        ([0, MOST + 1], rf"^nft/s0/ipv6: {MOST + 1:,} intervals, {MOST:,} is the most"),
        ([MOST, MOST, MOST, MOST - 1, 2], rf"^nft: {ALL + 1:,} intervals in all maps, {ALL:,} is the most"),
    ],
)
def test_how_much_a_kernel_is_given(counts: list[int], message: str) -> None:
    """The most intervals are accepted, in one map and in all maps; one more is refused."""
    services = [replace(META.services[0], name=f"s{at}") for at in range((len(counts) + 1) // 2)]
    sections = {f"nft/s{at // 2}/ipv{4 + at % 2 * 2}/targets": bytes(2 * count) for at, count in enumerate(counts)}
    if not message:
        schema.check_intervals(replace(META, services=tuple(services)), sections)
        return
    with pytest.raises(schema.OversizedError, match=message):
        schema.check_intervals(replace(META, services=tuple(services)), sections)


def leaves(content: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Return the path to each value that is neither a list nor an object."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for step, value in items:
        yield from leaves(value, (*path, step))
    if not isinstance(content, dict | list):
        yield path


@pytest.mark.parametrize("path", list(leaves(JSON)), ids=lambda path: ".".join(map(str, path)))
def test_no_value_is_without_bounds(path: tuple[str | int, ...]) -> None:
    """An absurd value of any type is refused at each place, including places that are added later."""
    beyond: list[object] = [10**300, -(10**300), 1e308, "x" * (1 << 21), [[]] * 100_000, {"x": 1}]
    for value in beyond:
        with pytest.raises(Invalid):
            schema.meta_of(changed(*path, value=value))


def check(**others: bytes) -> None:
    """Check the sections, with some of them replaced (/ written as __)."""
    content = SECTIONS | {name.replace("__", "/"): data for name, data in others.items()}
    views = {name: memoryview(data) for name, data in content.items()}
    schema.check_sections(META, views, {name: f"{name} {data!r}" for name, data in content.items()})


def u32(*numbers: int) -> bytes:
    """Return little-endian uint32 numbers."""
    return struct.pack(f"<{len(numbers)}I", *numbers)


def api(starts: list[int], ends: list[int], targets: list[int] | None = None) -> dict[str, bytes]:
    """Return the sections of the first service's IPv4 map."""
    return {
        "nft__api__ipv4__starts": struct.pack(f">{len(starts)}I", *starts),
        "nft__api__ipv4__ends": struct.pack(f">{len(ends)}I", *ends),
        "nft__api__ipv4__targets": u16(*(targets or [0] * len(starts))),
    }


TABLES = {
    "xdp__ipv4": bytes(4 << 16),
    "xdp__ipv6": bytes(4 << 16),
    "xdp__children": bytes(8),
    "xdp__lines": bytes(64),
    "xdp__digest": bytes(32),
}


@pytest.mark.parametrize("others", [{}, api([1, 5], [5, 0]), api([0], [0]), TABLES, {"xdp__limit": b"too large"}])
def test_sections_as_they_should_be(others: dict[str, bytes]) -> None:
    """Valid sections pass, also with adjacent intervals and up to the end of the family."""
    check(**others)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"ipv4__zones": u16(0, 3, 0)}, "^ipv4/zones: a number is not below 3"),
        ({"ipv4__zones": u16(0, 0xD83D, 0)}, "^ipv4/zones: a number"),
        ({"ipv4__zones": b"x"}, "^ipv4/zones: 1 bytes"),
        ({"ipv6__zones": b"", "ipv6__starts": b""}, "^ipv6/starts: 0 bytes for 0"),
        ({"ipv4__starts": u32(0, 2, 2)}, "^ipv4/starts: addresses are not ascending"),
        ({"ipv4__starts": u32(0, 2, 1)}, "^ipv4/starts: addresses are not ascending"),
        ({"ipv4__starts": u32(1, 2, 3)}, "^ipv4/starts: addresses are not ascending from 0"),
        ({"ipv4__starts": u32(0, 2)}, "^ipv4/starts: 8 bytes for 3"),
        ({"ipv6__starts": bytes(32)}, "^ipv6/starts: addresses"),
        ({"rows": u16(0, 0, 1, 0, 0, 2)}, "^rows: a number is not below 2"),
        ({"rows_embedded": u16(0)}, "^rows_embedded: 2 bytes, not 12"),
        (api([1, 5], [6, 7]), "^nft/api/ipv4/ends: an interval starts before"),
        (api([5, 1], [6, 2]), "^nft/api/ipv4/ends: an interval starts before"),
        (api([1, 5], [1, 7]), "^nft/api/ipv4/ends: an interval ends before"),
        (api([1, 5], [2, 4]), "^nft/api/ipv4/ends: an interval ends before"),
        (api([1, 5], [0, 7]), "^nft/api/ipv4/ends: an interval ends before"),
        (api([1], [2], [1]), "^nft/api/ipv4/targets: a number is not below 1"),
        (api([1], [2, 3]), "^nft/api/ipv4/ends: 8 bytes"),
        ({"xdp__limit": b"\xff"}, "^xdp/limit: is no line"),
        ({"xdp__limit": b"x" * 300}, "^xdp/limit: is no line"),
        (TABLES | {"xdp__lines": bytes(63)}, "^xdp/lines: 63 bytes"),
        (TABLES | {"xdp__ipv4": u32(3) * (1 << 16)}, "^xdp/ipv4: a word leads nowhere"),
        (TABLES | {"xdp__ipv6": u32(0x8000_0001) * (1 << 16)}, "^xdp/ipv6: a word leads nowhere"),
        (TABLES | {"xdp__ipv6": bytes(4)}, "^xdp/ipv6: 4 bytes"),
        (TABLES | {"xdp__children": u32(1, 0)}, "^xdp/children: an entry leads nowhere"),
        (TABLES | {"xdp__children": bytes(8 * (7 << 16) + 8)}, "^xdp/children: .* too many"),
        (TABLES | {"xdp__digest": b"x"}, "^xdp/digest: 1 bytes"),
        ({"drawn__ipv4__marks": u16(1, 2)}, "^drawn/ipv4/marks: a number is not below 2"),
        ({"drawn__ipv6__starts": bytes(32)}, "^drawn/ipv6/starts: addresses are not ascending from 0"),
        ({"more": b""}, '^"more": is a section that nothing reads'),
        ({"xdp__ipv4": b""}, '^"xdp/ipv4": is a section that nothing reads'),
    ],
)
def test_sections_with_numbers_that_lead_nowhere(others: dict[str, bytes], message: str) -> None:
    """Invalid numbers are refused: a digest proves that a file is unchanged, not that it is valid."""
    with pytest.raises(Invalid, match=message):
        check(**others)


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_no_section_may_be_missing(name: str) -> None:
    """A missing section is named."""
    views = {one: memoryview(data) for one, data in SECTIONS.items() if one != name}
    with pytest.raises(Invalid, match=f"^{name}: is missing"):
        schema.check_sections(META, views, dict.fromkeys(SECTIONS, "") | {name: "", "x": name})


def test_limits_are_those_of_the_tables() -> None:
    """The limits checked here are those of the compiler and of the XDP program."""
    assert (schema.MAX_CHILDREN, schema.MAX_LINES) == (xdp.MAX_CHILDREN, xdp.MAX_LINES)
    assert (xdp.LINE.itemsize, xdp.ENTRY.itemsize) == (schema.LINE_BYTES, schema.ENTRY_BYTES)
    assert schema.ROOT_BYTES == layout.ROOT_BYTES == 4 << xdp.ROOT_BITS
    assert (schema.MORE, schema.WORD_LINE) == (xdp.MORE, (1 << xdp.WORD_LINE_BITS) - 1)


def test_what_was_right_is_not_gone_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A section is not checked again under the same SHA-256 and the same bounds."""
    calls: list[object] = []
    below: Callable[..., bool] = ordering.below

    def counted(*given: object, **how: object) -> bool:
        calls.append(given)
        return below(*given, **how)

    monkeypatch.setattr(schema, "below", counted)
    check(**api([1, 5], [5, 9]))
    first = len(calls)
    check(**api([1, 5], [5, 9]))
    assert len(calls) == first
    check(**api([1, 5], [5, 8]))
    assert len(calls) > first
