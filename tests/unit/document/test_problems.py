# SPDX-License-Identifier: Apache-2.0
import pytest

from geodrop.document.problems import MAX_PROBLEMS, Position, Problem, ProblemReport, shown


def test_form_of_a_problem() -> None:
    """A problem is `file:line:column: error: message`, then the line with a caret under the column."""
    problem = Problem(Position("p.yaml", 3, 5), "wrong; write right", source="  a: b")
    assert str(problem) == "p.yaml:3:5: error: wrong; write right\n      a: b\n        ^"


def test_caret_stands_right_behind_tabs() -> None:
    """Tabs stay tabs in the caret's line, so the caret is at the right column whatever their width."""
    problem = Problem(Position("p", 1, 3), "wrong", source="\ta\tb")
    assert str(problem).splitlines()[1:] == ["    \ta\tb", "    \t ^"]


@pytest.mark.parametrize("column", [1, 40, 500, 1_000])
def test_long_lines_are_cut_around_the_caret(column: int) -> None:
    """A line of a thousand characters is shortened, and the caret still points at its column."""
    source = "".join(chr(0x4E00 + number) for number in range(1_000))
    _, excerpt, caret = str(Problem(Position("p", 1, column), "wrong", source=source)).splitlines()
    assert len(excerpt) < 130
    assert excerpt[len(caret) - 1] == source[column - 1]


def test_no_source_no_caret() -> None:
    """A problem of the whole file has one line."""
    assert str(Problem(Position("p", 1, 1), "empty", "warning")) == "p:1:1: warning: empty"


def test_report_sorts_and_tells_errors_from_warnings() -> None:
    """Problems come in file order, each once, and only errors fail."""
    report = ProblemReport("p", ["one", "two"])
    report.warning(Position("p", 2, 1), "b")
    assert report.errors == 0
    for _ in range(2):
        report.error(Position("p", 1, 2), "a")
    assert report.failed
    assert report.errors == 1
    assert [(problem.message, problem.source) for problem in report.problems()] == [("a", "one"), ("b", "two")]


def test_report_does_not_grow_without_bound() -> None:
    """A thousand problems are kept, the rest is counted; warnings do not take the place of errors."""
    report = ProblemReport("p", [])
    for number in range(MAX_PROBLEMS + 5):
        report.warning(Position("p", number + 1, 1), "w")
    report.error(Position("p", 1, 1), "e")
    problems = report.problems()
    assert len(problems) == MAX_PROBLEMS + 2
    assert problems[0].message == "e"
    assert problems[-1].message == "5 more problems are not shown"


def test_source_cannot_steer_a_terminal() -> None:
    """Control characters of the file are replaced in its excerpt."""
    report = ProblemReport("p", ["\x1b[31m\tx\x07"])
    report.error(Position("p", 1, 1), "e")
    assert report.problems()[0].source == "\ufffd[31m\tx\ufffd"


@pytest.mark.parametrize(
    ("word", "known", "text"),
    [
        ("defualt", ["default", "deny"], '; did you mean "default"?'),
        ("zzz", ["default", "deny"], "; write one of: default, deny"),
        ("zzz", [], ""),
        ("zzz", [f"n{number}" for number in range(20)], ""),
    ],
)
def test_meant(word: str, known: list[str], text: str) -> None:
    """For a misspelt word the message has the nearest known word, or else the list of known words if it is short."""
    assert ProblemReport("p", []).meant(word, known) == text


@pytest.mark.parametrize(
    ("text", "result"),
    [("CN", '"CN"'), ("a\nb\x1b", '"a\\nb\\x1b"'), ("x" * 100, '"' + "x" * 57 + '..."'), ("\ud800", '"\\ud800"')],
)
def test_shown(text: str, result: str) -> None:
    """A text is quoted on one line, with unprintable characters escaped."""
    assert shown(text) == result


def test_a_long_line_is_read_once() -> None:
    """All problems of a line share its text: a thousand of them in a line of a megabyte would take minutes else."""
    report = ProblemReport("p", ["x\x1b" * 1000, "y"])
    for line, column in ((1, 1), (1, 2), (2, 1), (3, 1)):
        report.error(Position("p", line, column), "wrong")
    first, second, third, none = (one.source for one in report.problems())
    assert first is second
    assert (first[:2], third, none) == ("x\ufffd", "y", "")
