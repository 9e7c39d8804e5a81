"""Every way geodrop can fail, each with its exit code and the next step.

The exit code is part of the class, so that a verb never chooses one. The codes follow sysexits.h where it has a meaning
for them; docs/commands.md lists them all.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.document.problems import Problem


class GeodropError(Exception):
    """A failure that is not a bug: what is wrong, and what to do next.

    `printed` are lines that say it already, ready for stderr: the problems of a file, or what a child wrote.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, next_step: str = "", *, printed: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.printed = printed

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message

    @property
    def problem(self) -> str:
        """As a line of `status` says it."""
        return f"{self.message}; next: {self.next_step}" if self.next_step else self.message


class ProblemsError(GeodropError):
    """A file is wrong; carries every problem found, in file order, each with its place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = "\n".join(str(problem) for problem in problems)
        super().__init__(lines, printed=lines)
        self.problems = tuple(problems)


class ApplyError(GeodropError):
    """It failed, and what was in force before still is. `verify`: a difference. `status`: degraded, or paused."""

    exit_code = 1


class UsageError(GeodropError):
    """The command line cannot be understood."""

    exit_code = 2


class NotEnforcingError(GeodropError):
    """Nothing is in force. `status`: not enforcing, though the policy wants packets dropped."""

    exit_code = 3


class DataError(GeodropError):
    """A database, ruleset, list file or address is damaged, missing or of the wrong kind."""

    exit_code = 65


class ListError(ProblemsError, DataError):
    """List files cannot be used."""


class UnavailableError(GeodropError):
    """A kernel facility is missing, or not ours to use."""

    exit_code = 69


class BusyError(GeodropError):
    """Somebody else is changing the dataplane right now; try again."""

    exit_code = 75


class PrivilegeError(GeodropError):
    """A right is missing: a capability, or that to read or write a file."""

    exit_code = 77


class ConfigError(GeodropError):
    """agent.yaml, or what it asks for, cannot be used."""

    exit_code = 78


class ConfigFileError(ProblemsError, ConfigError):
    """agent.yaml cannot be read."""


class DataDeniedError(PrivilegeError, DataError):
    """This user may not read a database, ruleset or list file."""


class ConfigDeniedError(PrivilegeError, ConfigError):
    """This user may not read agent.yaml or the policy."""


class NoInterfaceError(ConfigError):
    """No interface is there to judge packets on; one may come."""


class PolicyError(ProblemsError):
    """The policy cannot be used."""

    exit_code = 78


EXIT_BUG = 70
"""The only exit code that comes with a traceback."""


class BugError(GeodropError):
    """Another process of geodrop met a bug; its log or stderr has the traceback."""

    exit_code = EXIT_BUG


_BY_CODE: dict[int, type[GeodropError]] = {
    kind.exit_code: kind
    for kind in (
        ApplyError,
        UsageError,
        NotEnforcingError,
        DataError,
        UnavailableError,
        BugError,
        BusyError,
        PrivilegeError,
        ConfigError,
    )
}


def failure_of(code: int, message: str, next_step: str = "", *, printed: str = "") -> GeodropError:
    """A failure that another process reported, as the exception of its exit code; a code nobody knows is a bug."""
    return _BY_CODE.get(code, BugError)(message, next_step, printed=printed)


def not_opened(path: str, error: OSError, kind: type[GeodropError], next_step: str) -> GeodropError:
    """The failure for a file that cannot be opened: a right that is missing has one exit code, whatever the file is."""
    if error.errno not in (errno.EACCES, errno.EPERM):
        return kind(f"{path}: {error.strerror}", next_step)
    denied = ConfigDeniedError if issubclass(kind, ConfigError) else DataDeniedError
    return denied(f"{path}: user {user_name()} may not read it", f"see which right is missing: namei -l {path}")


def user_name() -> str:
    """Whose rights this process has."""
    import pwd  # noqa: PLC0415 - only failures need it

    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


_PLACED = re.compile(r"^(?P<place>[^\n]+?:\d+:\d+): (?P<severity>error|warning): (?P<text>[^\n]*)$", re.MULTILINE)


def as_object(*failures: GeodropError) -> dict[str, Any]:
    """What --json prints of a command that failed: its first error, and all `problems`, warnings of a file included.

    A `place` is file:line:column, or null.
    """
    problems = [one for failure in failures for one in _problems(failure)]
    first = next((one for one in problems if one["severity"] == "error"), problems[0])
    shared = {name: first[name] for name in ("error", "place", "next_step")}
    return {"schema": 1, **shared, "exit": failures[0].exit_code, "problems": problems}


def _problems(failure: GeodropError) -> list[dict[str, str | None]]:
    placed = [one.groupdict() for one in _PLACED.finditer(failure.printed or failure.message)]
    if not any(one["severity"] == "error" for one in placed):
        said = {"severity": "error", "place": None, "error": failure.message, "next_step": failure.next_step}
        return [said, *map(_placed, placed)]
    return [*map(_placed, placed)]


def _placed(one: dict[str, str]) -> dict[str, str | None]:
    """A message says what is wrong, a semicolon, and what to write."""
    error, _, step = one["text"].partition("; ")
    return {"severity": one["severity"], "place": one["place"], "error": error, "next_step": step}


class Excused:
    """Passes over what the system refuses with one of these numbers of errno, and nothing else."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, OSError) and error.errno in self._numbers
