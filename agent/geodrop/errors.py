"""Every way geodrop can fail, each with its exit code and the next step.

The exit code is part of the class, so that a verb never chooses one. The codes follow sysexits.h where it has a meaning
for them; docs/design.md lists them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.document.problems import Problem


class GeodropError(Exception):
    """A failure that is not a bug: what is wrong, and what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message


class ProblemsError(GeodropError):
    """A file is wrong; carries every problem found, in file order, each with its place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class ApplyError(GeodropError):
    """It failed, and what was in force before still is. `verify`: a difference. `status`: in force, but degraded."""

    exit_code = 1


class UsageError(GeodropError):
    """The command line cannot be understood."""

    exit_code = 2


class NotEnforcingError(GeodropError):
    """Nothing is in force."""

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


class PolicyError(ProblemsError):
    """The policy cannot be used."""

    exit_code = 78


EXIT_BUG = 70
"""The only exit code that comes with a traceback."""
