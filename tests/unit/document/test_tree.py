# SPDX-License-Identifier: Apache-2.0
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geodrop.document.tree import MAX_DEPTH, MAX_SIZE, KeyTable, Listing, Node, Scalar, read_document

PARSERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.fixture(params=PARSERS, autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with both parsers of PyYAML."""
    monkeypatch.setattr("geodrop.document.tree.PARSER", request.param)


def plain(node: Node | None) -> object:
    """Return a tree as Python lists, pairs and texts."""
    match node:
        case Scalar(text=text):
            return text
        case Listing(items=items):
            return [plain(item) for item in items]
        case KeyTable(entries=entries):
            return {key.text: plain(value) for key, value in entries}
        case None:
            return None


def places(node: Node) -> list[tuple[str, int, int]]:
    """Return every text of a tree with its line and column."""
    match node:
        case Scalar(text=text, place=place):
            return [(text, place.line, place.column)]
        case Listing(items=items):
            return [found for item in items for found in places(item)]
        case KeyTable(entries=entries):
            return [found for key, value in entries for node in (key, value) for found in places(node)]


def errors(data: bytes) -> list[str]:
    """Return the problems, as `line:column: message`."""
    return [f"{p.place.line}:{p.place.column}: {p.message}" for p in read_document(data, "p")[2].problems()]


@pytest.mark.parametrize(
    "text",
    ["NO", "no", "on", "y", "1:30", "0777", "0x1F", "1_000", "1e3", ".inf", "~", "null", "2024-07-09", "12:30:45", "="],
)
def test_scalars_stay_text(text: str) -> None:
    """No scalar becomes a truth value, a number, a date or null, as YAML 1.1 would have it."""
    _, root, report = read_document(f"a: [{text}]\n".encode(), "p")
    assert plain(root) == {"a": [text]}
    assert not report.problems()


def test_places_count_characters_from_one() -> None:
    """Line and column are those of an editor, with multi-byte characters, Windows line ends and a byte order mark."""
    data = "\ufeffa: é\r\nüb:\r\n  - 'NO'\r\n  - [x, y]\r\n".encode()
    _, root, _ = read_document(data, "p")
    assert isinstance(root, KeyTable)
    assert places(root) == [
        ("a", 1, 1),
        ("é", 1, 4),
        ("üb", 2, 1),
        ("NO", 3, 5),
        ("x", 4, 6),
        ("y", 4, 9),
    ]


def test_empty_value_differs_from_an_empty_text() -> None:
    """`a:` is empty, `a: ""` is a text: the schema may tell them apart."""
    _, root, _ = read_document(b"a:\nb: ''\n", "p")
    assert isinstance(root, KeyTable)
    assert [value.plain for _, value in root.entries if isinstance(value, Scalar)] == [True, False]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# nothing\n", b"\xef\xbb\xbf"])
def test_empty_file(data: bytes) -> None:
    """A file without content has no tree and no problems."""
    _, root, report = read_document(data, "p")
    assert root is None
    assert not report.problems()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: 2\na: 3\n", '3:1: "a" is written twice, first in line 1'),
        (b"'a': 1\na: 3\n", '2:1: "a" is written twice, first in line 1'),
        (b"a: &x 1\n", "1:4: anchors (&name) are not supported"),
        (b"a: &x [1]\n", "1:4: anchors (&name) are not supported"),
        (b"a: *x\n", "1:4: aliases (*name) are not supported"),
        (b"<<: {a: b}\n", "1:1: merge keys (<<) are not supported"),
        (b"a: !!python/name:os.system x\n", "1:4: tags"),
        (b"a: !x [1]\n", '1:4: tags ("!x") are not supported'),
        (b"a: 1\n---\nb: 2\n", "2:1: a second document begins here"),
        (b"? [a]\n: b\n", "1:3: a key must be one word"),
        (b"[" * 100, f"1:{MAX_DEPTH + 1}: more than {MAX_DEPTH} lists and tables inside each other"),
        (b"- " * 100, f"1:{2 * MAX_DEPTH + 1}: more than {MAX_DEPTH} lists and tables inside each other"),
        (b"a: 1\nb: \xff\n", "2:4: byte 0xff is not UTF-8"),
        (b"\xff\xfea\0", "1:1: byte 0xff is not UTF-8"),
        (b"a: x\0y\n", "1:5: character U+0000 is not allowed"),
        ("a: 1 # \u202e\n".encode(), "1:8: character U+202E is not allowed"),
        ("a: 1\u2028b: 2\n".encode(), "1:5: character U+2028 is not allowed"),
        (b"a:\n\t- b\n", "2:1: not YAML"),
        (b"a: [1, 2\nb: 3\n", "2:2: not YAML"),
        (b"a: @x\n", "1:4: not YAML"),
        (b"a: 'x", "1:6: not YAML"),
        (b"%YAML 9.9\n---\na: 1\n", "1:1: not YAML"),
        (b"a" * (MAX_SIZE + 1), "1:1: 1,048,577 bytes, 1,048,576 is the most"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    """Anything that two readers could read differently, or that is not YAML, is an error at its place."""
    found = errors(data)
    assert found
    assert found[0].startswith(message)
    assert ";" in found[0], "the message says what to write"


@pytest.mark.parametrize("escape", ["\\ud800", "\\UFFFFFFFF"])
def test_impossible_escapes(escape: str) -> None:
    """Escapes for invalid characters are errors, or stay texts that no value can have; they never raise."""
    _, root, report = read_document(f'a: "{escape}"\n'.encode(), "p")
    assert report.failed or plain(root) == {"a": "\ud800"}


def test_hint_for_tabs_and_context() -> None:
    """The most common mistakes have their own advice: tabs, unquoted IPv6, and a bracket left open lines before."""
    assert "put quotes round" in errors(b"a: [::1]\n")[0]
    assert errors(b"a:\n\t- b\n")[0].endswith("; use spaces, not tabs")
    assert "that begins in line 1" in errors(b"a: [1,\n\n2\nb: 3\n")[0]


def test_everything_at_once() -> None:
    """Mistakes in valid YAML are all reported, and the rest of the tree is kept."""
    data = b"a: &x 1\na: 2\nb: *x\nc: !!str 3\nd: 4\n"
    assert [error.split(":")[0] for error in errors(data)] == ["1", "2", "3", "4"]
    assert plain(read_document(data, "p")[1]) == {"a": "1", "c": "3", "d": "4"}


def test_aliases_cannot_explode() -> None:
    """Nine levels of nine aliases would be 387 million nodes; here they are nine empty lists."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    _, root, report = read_document("\n".join(lines).encode(), "p")
    assert report.failed
    assert plain(root) == {"a0": ["x"]} | {f"a{n}": [] for n in range(1, 10)}


def test_many_nodes_do_not_use_the_stack() -> None:
    """A wide file of the largest size is read; a deep one is refused long before Python's recursion limit."""
    _, root, report = read_document(b"[" + b"x, " * 20_000 + b"x]", "p")
    assert isinstance(root, Listing)
    assert len(root.items) == 20_001
    assert not report.failed


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="ab:-[]{},#&*!|>'\"%@\\x \t\n\r", max_size=80)))
def test_any_bytes_give_a_tree_or_errors_inside_the_file(data: bytes | str) -> None:
    """Any bytes are read without an exception, and every place is inside the file (at most one after a line's end)."""
    data = data.encode() if isinstance(data, str) else data
    text, root, report = read_document(data, "p")
    assert root is None or isinstance(root, Scalar | Listing | KeyTable)
    lines = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for problem in report.problems():
        assert 1 <= problem.place.line <= len(lines)
        assert 1 <= problem.place.column <= len(lines[problem.place.line - 1]) + 1
    assert report.failed or text == data.decode().removeprefix("\ufeff")
