# SPDX-License-Identifier: Apache-2.0
import pytest

from geodrop.document import shape
from geodrop.document.keys import Key, Keys
from geodrop.document.problems import ProblemReport
from geodrop.document.tree import Node, read_document
from geodrop.policy.model import Mode
from geodrop.policy.values import parse_ports


def read(text: str) -> tuple[Node, ProblemReport]:
    """Return a tree and its report."""
    _, root, report = read_document(text.encode(), "p")
    assert root is not None
    return root, report


def keys(*names: str) -> Keys:
    """Return a table of known keys."""
    return {name: Key(f"what {name} is") for name in names}


def messages(report: ProblemReport) -> list[str]:
    """Return the problems, with line and column."""
    return [f"{p.place.line}:{p.place.column}: {p.message}" for p in report.problems()]


def test_fields_gives_known_keys_and_reports_the_others() -> None:
    """Known keys are returned, and a misspelt key is reported."""
    root, report = read("mode: enforce\nmdoe: monitor\nzzz: 1\n")
    found = shape.fields(report, root, "service api", keys("mode", "match"))
    assert list(found.nodes) == ["mode"]
    assert messages(report) == [
        '2:1: "mdoe" is not a key of service api; did you mean "mode"?',
        '3:1: "zzz" is not a key of service api; write one of: mode, match',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]", "1:1: groups is a list; write  name: value  pairs, or {} for none"),
        ("a", "1:1: groups is a single value; write  name: value  pairs, or {} for none"),
    ],
)
def test_not_a_table(text: str, message: str) -> None:
    """A node that should be a table and is not gives no keys and one error."""
    root, report = read(text)
    assert not shape.fields(report, root, "groups", keys("a")).nodes
    assert messages(report) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow: US", "1:8: allow is a single value, but must be a list; write [US], or [] for none"),
        ("allow:", "1:7: allow is empty, but must be a list; write [...], or [] for none"),
        ("allow: {a: b}", "1:8: allow is a table, but must be a list; write [...], or [] for none"),
    ],
)
def test_not_a_list(text: str, message: str) -> None:
    """A node that should be a list and is not gives no items and one error that shows the list to write."""
    root, report = read(text)
    assert shape.listing(report, shape.fields(report, root, "x", keys("allow")).nodes["allow"], "allow") == ()
    assert messages(report) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k:", "1:3: k of x is empty; write a value, or remove the key"),
        ("k: [a]", "1:4: k of x is a list; write one value"),
        ("k: {list: a}", "1:4: k of x is a table; write list:a, without a space"),
        ("k: {a: b, c: d}", "1:4: k of x is a table; write one value; put quotes round a value that has a colon"),
        ("k: http", '1:4: k of x: "http" is not a port'),
    ],
)
def test_not_a_value(text: str, message: str) -> None:
    """A node that is no text, or a text of the wrong form, gives None and one error."""
    root, report = read(text)
    assert shape.fields(report, root, "x", keys("k")).value("k", parse_ports) is None
    assert len(report.problems()) == 1
    assert messages(report)[0].startswith(message)


def test_values_leaves_out_what_cannot_be_read() -> None:
    """A bad entry of a list is left out, and the others are read."""
    root, report = read("[80, x, 443, '']")
    assert shape.values(report, root, "ports", parse_ports) == [(80, 80), (443, 443)]
    assert [message.split(" ")[0] for message in messages(report)] == ["1:6:", "1:14:"]


def test_choice() -> None:
    """A choice gives a member of the enumeration, or an error that lists the words; a missing key gives None."""
    root, report = read("good: monitor\nbad: Monitor\nother: zzz\n")
    found = shape.fields(report, root, "x", keys("good", "bad", "other", "none"))
    assert found.choice("good", Mode) is Mode.MONITOR
    assert found.choice("none", Mode) is None
    assert found.choice("bad", Mode) is None
    assert found.choice("other", Mode) is None
    assert messages(report) == [
        '2:6: bad of x: "Monitor" is not known; did you mean "monitor"?',
        '3:8: other of x: "zzz" is not known; write one of: enforce, monitor',
    ]
