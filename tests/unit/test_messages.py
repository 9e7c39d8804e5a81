import io

import pytest

from geodrop import messages
from geodrop.document.problems import Place, Problem
from geodrop.errors import DataError, ListError, PolicyError


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Claim to be one."""
        return True


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Escape codes go to terminals, and not even there with NO_COLOR."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert messages.paint("x", messages.RED, Terminal()) == "\x1b[31mx\x1b[0m"
    assert messages.paint("x", messages.RED, io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert messages.paint("x", messages.RED, Terminal()) == "x"


def test_messages_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout is for data."""
    messages.error(DataError("f: cut off", "copy it again"))
    messages.warning("old")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "geodrop: error: f: cut off; copy it again\ngeodrop: warning: old\n"


@pytest.mark.parametrize("kind", [PolicyError, ListError])
def test_problems_keep_their_form(kind: type[PolicyError | ListError], capsys: pytest.CaptureFixture[str]) -> None:
    """The problems of policies and lists start with file:line:column, for editors to jump to."""
    problem = Problem(Place("p.yaml", 3, 5), "unknown key", source="  engin: x")
    messages.error(kind([problem]))
    assert capsys.readouterr().err == "p.yaml:3:5: error: unknown key\n      engin: x\n        ^\n"
