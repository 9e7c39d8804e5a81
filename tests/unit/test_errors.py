import errno

import pytest

from geodrop import errors

CONTRACT = {
    "GeodropError": 1,
    "ProblemsError": 1,
    "ApplyError": 1,
    "UsageError": 2,
    "NotEnforcingError": 3,
    "DataError": 65,
    "ListError": 65,
    "UnavailableError": 69,
    "BusyError": 75,
    "PrivilegeError": 77,
    "ConfigError": 78,
    "ConfigFileError": 78,
    "NoInterfaceError": 78,
    "PolicyError": 78,
    "BugError": 70,
}


def test_exit_codes_are_the_contract() -> None:
    """Scripts depend on the codes: each class has the one of docs/commands.md, and there is no other class."""
    found = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.GeodropError)
    }
    assert found == CONTRACT
    assert errors.EXIT_BUG == 70


def test_next_step_is_part_of_the_text() -> None:
    """What to do next follows what is wrong."""
    assert str(errors.DataError("f: cut off", "copy it again")) == "f: cut off; copy it again"
    assert str(errors.DataError("f: cut off")) == "f: cut off"
    assert errors.DataError("f: cut off", "copy it again").problem == "f: cut off; next: copy it again"
    assert errors.DataError("f: cut off").problem == "f: cut off"


def test_a_failure_of_another_process_keeps_its_code() -> None:
    """What a daemon or a child reports is raised as the class of its exit code; a code nobody knows is a bug."""
    for code in {*CONTRACT.values()} - {1}:
        found = errors.failure_of(code, "what", "do", printed="lines")
        assert (found.exit_code, found.message, found.next_step, found.printed) == (code, "what", "do", "lines")
    assert errors.failure_of(1, "what").exit_code == 1
    assert errors.failure_of(-9, "what").exit_code == errors.EXIT_BUG


def test_only_what_is_named_is_excused() -> None:
    """One of these refusals is passed over; any other comes through, as does what is no refusal of the system."""
    with errors.Excused(errno.EBADF, errno.ENOENT):
        raise OSError(errno.ENOENT, "gone")
    with pytest.raises(OSError, match="full"), errors.Excused(errno.EBADF, errno.ENOENT):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(ValueError, match="other"), errors.Excused(errno.EBADF):
        raise ValueError("other")
