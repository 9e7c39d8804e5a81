# SPDX-License-Identifier: Apache-2.0
import io
import os
import sys

import pytest

from geodrop import messages
from geodrop.document.problems import Position, Problem
from geodrop.errors import ConfigError, DataError, ListError, PolicyError


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

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
    """Messages go to stderr; stdout is for data."""
    messages.error(DataError("f: cut off", "copy it again"))
    messages.warning("old")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "geodrop: error: f: cut off; copy it again\ngeodrop: warning: old\n"


@pytest.mark.parametrize("kind", [PolicyError, ListError])
def test_problems_keep_their_form(kind: type[PolicyError | ListError], capsys: pytest.CaptureFixture[str]) -> None:
    """The problems of policies and lists start with file:line:column, for editors to jump to."""
    problem = Problem(Position("p.yaml", 3, 5), "unknown key", source="  engin: x")
    messages.error(kind([problem]))
    assert capsys.readouterr().err == "p.yaml:3:5: error: unknown key\n      engin: x\n        ^\n"


def test_nothing_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Failures, warnings, printed lines and command output are escaped; only our own lines begin at the margin."""
    messages.error(DataError("f\x1b[2K: bad\ngeodrop: warning: fake", "copy\r it"))
    messages.error(DataError("", printed="p.yaml:1:1: error: \x1b]0;title\x07\n\tx"))
    messages.warning("old\x9b31m\ngeodrop: error: fake")
    messages.say("a\x1b[31mb\x1b[0m\u202e")
    out, err = capsys.readouterr()
    assert err == (
        "geodrop: error: f\\x1b[2K: bad\n    | geodrop: warning: fake; copy\\r it\n"
        "p.yaml:1:1: error: \\x1b]0;title\\x07\n\tx\n"
        "geodrop: warning: old\\x9b31m\n    | geodrop: error: fake\n"
    )
    assert out == "a\\x1b[31mb\\x1b[0m\\u202e\n"


def test_only_our_own_paint_reaches_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own colour codes are kept, and all other control characters are escaped."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    messages.say(messages.paint("x", messages.RED, stream) + "\x1b[2J\x1b[5m", stream)
    assert stream.getvalue() == "\x1b[31mx\x1b[0m\\x1b[2J\\x1b[5m\n"
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    messages.warning("nothing is in force\x1b[31m", messages.RED)
    assert stream.getvalue() == "\x1b[33mgeodrop: warning:\x1b[0m \x1b[31mnothing is in force\\x1b[31m\x1b[0m\n"


@pytest.mark.parametrize("to_journal", [True, False])
def test_the_journal_is_told_how_bad_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *, to_journal: bool
) -> None:
    """In the journal each line of an error or warning begins with its priority; elsewhere it does not."""
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    stream = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stream.st_dev}:{stream.st_ino + (not to_journal)}")
    messages.error(ConfigError("no `source`", "write one"))
    messages.error(ConfigError("", printed="p.yaml:1:1: error: a\np.yaml:2:1: error: b"))
    messages.warning("old")
    found = capfd.readouterr().err.splitlines()
    said = ["geodrop: error: no `source`; write one", "p.yaml:1:1: error: a", "p.yaml:2:1: error: b"]
    ranked = [*(f"<3>{line}" for line in said), "<4>geodrop: warning: old"]
    assert found == (ranked if to_journal else [line[3:] for line in ranked])


def test_data_is_what_json_makes(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of JSON are printed as they are; anything that could control a terminal is a bug."""
    messages.data(['{"a": "\\u001b[2J"}', "{}"])
    messages.data([])
    assert capsys.readouterr().out == '{"a": "\\u001b[2J"}\n{}\n'
    with pytest.raises(ValueError, match="json"):
        messages.data(["\x9b2J"])
