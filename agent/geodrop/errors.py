"""Every way geodrop can fail, each with its exit code and the next step.

The exit code is part of the class, so that a verb never chooses one. The codes follow sysexits.h where it has a meaning
for them; docs/commands.md lists them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

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
    """A capability is missing."""

    exit_code = 77


class ConfigError(GeodropError):
    """agent.yaml, or what it asks for, cannot be used."""

    exit_code = 78


class ConfigFileError(ProblemsError, ConfigError):
    """agent.yaml cannot be read."""


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


class Excused:
    """Passes over what the system refuses with one of these numbers of errno, and nothing else."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, OSError) and error.errno in self._numbers
