# SPDX-License-Identifier: Apache-2.0
import errno

import pytest

from geodrop import errors
from geodrop.document.problems import Position, Problem

CONTRACT = {
    "GeodropError": 1,
    "ProblemsError": 1,
    "ApplyError": 1,
    "UsageError": 2,
    "NotEnforcingError": 3,
    "HeldError": 5,
    "DataError": 65,
    "FormatError": 65,
    "OutdatedError": 65,
    "NewerError": 65,
    "ListError": 65,
    "UnavailableError": 69,
    "BusyError": 75,
    "PrivilegeError": 77,
    "ConfigError": 78,
    "ConfigFileError": 78,
    "NoInterfaceError": 78,
    "PolicyError": 78,
    "DataDeniedError": 77,
    "ConfigDeniedError": 77,
    "BugError": 70,
}


def test_exit_codes_are_the_contract() -> None:
    """Scripts depend on the codes: each class has its code in docs/commands.md, and there is no other class."""
    found = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.GeodropError)
    }
    assert found == CONTRACT
    assert errors.EXIT_BUG == 70


def test_next_step_is_part_of_the_text() -> None:
    """The next step follows the message."""
    assert str(errors.DataError("f: cut off", "copy it again")) == "f: cut off; copy it again"
    assert str(errors.DataError("f: cut off")) == "f: cut off"
    assert errors.DataError("f: cut off", "copy it again").problem == "f: cut off; next: copy it again"
    assert errors.DataError("f: cut off").problem == "f: cut off"


def test_a_failure_of_another_process_keeps_its_code() -> None:
    """A failure of a daemon or child is raised as the class of its exit code; an unknown code is a bug."""
    for code in {*CONTRACT.values()} - {1}:
        found = errors.failure_of(code, "what", "do", printed="lines")
        assert (found.exit_code, found.message, found.next_step, found.printed) == (code, "what", "do", "lines")
    assert errors.failure_of(1, "what").exit_code == 1
    assert errors.failure_of(-9, "what").exit_code == errors.EXIT_BUG


def test_a_failure_as_json() -> None:
    """The object has the first error with place, message and next step apart, and every problem."""
    problems = [
        Problem(Position("p.yaml", 2, 1), "odd", "warning"),
        Problem(Position("p.yaml", 3, 5), "unknown key; remove it", source="  engin: x"),
    ]
    found = errors.as_object(errors.PolicyError(problems), errors.DataError("x.mmdb: cut off", "copy it again"))
    assert {name: found[name] for name in ("error", "place", "next_step", "exit")} == {
        "error": "unknown key",
        "place": "p.yaml:3:5",
        "next_step": "remove it",
        "exit": 78,
    }
    assert [(one["severity"], one["place"], one["error"]) for one in found["problems"]] == [
        ("warning", "p.yaml:2:1", "odd"),
        ("error", "p.yaml:3:5", "unknown key"),
        ("error", None, "x.mmdb: cut off"),
    ]


def test_a_right_that_is_missing_is_77_whatever_the_file_is() -> None:
    """A missing right is 77 for any kind of file, and names the user; other errors are those of the kind of file."""
    denied = errors.not_opened(
        "/x/policy.yaml", PermissionError(errno.EACCES, "Permission denied"), errors.ConfigError, ""
    )
    assert (denied.exit_code, isinstance(denied, errors.ConfigError)) == (77, True)
    assert denied.message == f"/x/policy.yaml: user {errors.user_name()} may not read it"
    assert denied.next_step == "see which right is missing: namei -l /x/policy.yaml"
    assert isinstance(
        errors.not_opened("x", PermissionError(errno.EPERM, "no"), errors.DataError, ""), errors.DataError
    )
    missing = errors.not_opened("x", FileNotFoundError(errno.ENOENT, "No such file"), errors.DataError, "put it there")
    assert (missing.exit_code, str(missing)) == (65, "x: No such file; put it there")


def test_only_what_is_named_is_excused() -> None:
    """An OSError with one of these numbers is suppressed; any other error is raised."""
    with errors.Excused(errno.EBADF, errno.ENOENT):
        raise OSError(errno.ENOENT, "gone")
    with pytest.raises(OSError, match="full"), errors.Excused(errno.EBADF, errno.ENOENT):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(ValueError, match="other"), errors.Excused(errno.EBADF):
        raise ValueError("other")


def test_problems_are_not_read_from_their_text() -> None:
    """A file whose name, and a line whose text, look like a problem of their own are told as what they are."""
    place = Position("a.yaml:1:2: error: no.yaml", 3, 5)
    problem = Problem(place, "unknown key; remove it", source="b.yaml:7:1: error: forged")
    found = errors.as_object(errors.PolicyError([problem]))
    assert [(one["place"], one["error"], one["next_step"]) for one in found["problems"]] == [
        ("a.yaml:1:2: error: no.yaml:3:5", "unknown key", "remove it")
    ]
