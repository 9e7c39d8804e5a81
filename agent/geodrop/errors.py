# SPDX-License-Identifier: Apache-2.0
"""The failures of geodrop: exception classes with an exit code, a message and the next step.

The exit code is part of the class, so that a verb never chooses one. The codes follow sysexits.h where it defines one;
docs/commands.md lists them all.
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

    `printed` are lines about it that are ready for stderr: the problems of a file, or the output of a child.
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
        """The text of a line of `status`."""
        return f"{self.message}; next: {self.next_step}" if self.next_step else self.message


class ProblemsError(GeodropError):
    """A file has errors; carries every problem found, in file order, each with its place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = "\n".join(str(problem) for problem in problems)
        super().__init__(lines, printed=lines)
        self.problems = tuple(problems)


class ApplyError(GeodropError):
    """It failed, and the previous state is still in force. `verify`: a difference. `status`: degraded, or paused."""

    exit_code = 1


class UsageError(GeodropError):
    """The command line cannot be understood."""

    exit_code = 2


class NotEnforcingError(GeodropError):
    """Nothing is in force. `status`: not enforcing, though the policy wants packets dropped."""

    exit_code = 3


class HeldError(GeodropError):
    """A limit holds the change, and nothing changed; the message has the figures and the command that accepts it."""

    exit_code = 5
    held: Sequence[dict[str, Any]] = ()
    """The limits, as in `status --json`."""


class DataError(GeodropError):
    """A database, ruleset, list file or address is damaged, missing or of the wrong kind."""

    exit_code = 65


class FormatError(DataError):
    """A file has a format that this version does not read."""


class OutdatedError(FormatError):
    """A file has the format of an earlier version, which is no longer read."""


class NewerError(FormatError):
    """A file was written by a newer version. It stays as it is."""


class ListError(ProblemsError, DataError):
    """List files cannot be used."""


class UnavailableError(GeodropError):
    """A kernel facility is missing, or not ours to use."""

    exit_code = 69


class BusyError(GeodropError):
    """Another process is changing the dataplane right now; try again."""

    exit_code = 75


class PrivilegeError(GeodropError):
    """A right is missing: a capability, or the right to read or write a file."""

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
    """There is no interface to judge packets on; one may appear later."""


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
        HeldError,
        DataError,
        UnavailableError,
        BugError,
        BusyError,
        PrivilegeError,
        ConfigError,
    )
}


def failure_of(
    code: int, message: str, next_step: str = "", *, printed: str = "", held: Sequence[dict[str, Any]] = ()
) -> GeodropError:
    """Return a failure that another process reported as the exception of its exit code; an unknown code is a bug.

    `held` are the limits of a HeldError.
    """
    failure = _BY_CODE.get(code, BugError)(message, next_step, printed=printed)
    if isinstance(failure, HeldError):
        failure.held = held
    return failure


def not_opened(path: str, error: OSError, kind: type[GeodropError], next_step: str) -> GeodropError:
    """Return the failure for a file that cannot be opened; a missing right is a PrivilegeError for any kind of file."""
    if error.errno not in (errno.EACCES, errno.EPERM):
        return kind(f"{path}: {error.strerror}", next_step)
    denied = ConfigDeniedError if issubclass(kind, ConfigError) else DataDeniedError
    return denied(f"{path}: user {user_name()} may not read it", f"see which right is missing: namei -l {path}")


def user_name() -> str:
    """Return the name of the user whose rights this process has; the uid as text if the user has no name."""
    import pwd  # noqa: PLC0415 - only failures need it

    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


_PLACED = re.compile(r"^(?P<place>[^\n]+?:\d+:\d+): (?P<severity>error|warning): (?P<text>[^\n]*)$", re.MULTILINE)


def as_object(*failures: GeodropError) -> dict[str, Any]:
    """Return what --json prints for a failed command: the first error, and all `problems`, including a file's warnings.

    A `place` is file:line:column, or null. A held change also has its limits, as `held`.
    """
    problems = [one for failure in failures for one in _problems(failure)]
    first = next((one for one in problems if one["severity"] == "error"), problems[0])
    shared = {name: first[name] for name in ("error", "place", "next_step")}
    held = {"held": list(failures[0].held)} if isinstance(failures[0], HeldError) else {}
    return {"schema": 1, **shared, "exit": failures[0].exit_code, "problems": problems, **held}


def _problems(failure: GeodropError) -> list[dict[str, str | None]]:
    if isinstance(failure, ProblemsError):
        placed = [{"severity": one.severity, "place": str(one.place), "text": one.message} for one in failure.problems]
    else:  # perhaps of another process, which says its problems in text
        placed = [one.groupdict() for one in _PLACED.finditer(failure.printed or failure.message)]
    if not any(one["severity"] == "error" for one in placed):
        said = {"severity": "error", "place": None, "error": failure.message, "next_step": failure.next_step}
        return [said, *map(_placed, placed)]
    return [*map(_placed, placed)]


def _placed(one: dict[str, str]) -> dict[str, str | None]:
    """Split a message at its first semicolon into what is wrong and what to write."""
    error, _, step = one["text"].partition("; ")
    return {"severity": one["severity"], "place": one["place"], "error": error, "next_step": step}


class Excused:
    """A context that suppresses an OSError with one of these errno numbers, and nothing else."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, OSError) and error.errno in self._numbers
