"""The real `geodrop` command, run as an operator would, in the demo's folder and in the API's namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from geodrop import errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONFIG = "agent.yaml"


class CommandHost(Protocol):
    """Where commands are run: a network namespace of the demo."""

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` there."""


@dataclass(frozen=True, slots=True)
class DemoVerbs:
    """Runs verbs with `folder` as the current one; there `agent.yaml` names a state directory, so that none is left."""

    folder: Path
    namespace: CommandHost

    def run(self, *arguments: str, given: str | None = None) -> str:
        """What a verb prints on stdout; `given` is its standard input.

        Raises the error that the exit code of the verb stands for, with what it said on stderr.
        """
        command = [sys.executable, "-P", "-m", "geodrop", "--config", CONFIG, *arguments]
        done = subprocess.run(
            self.namespace.inside(command), cwd=self.folder, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise error_of(done.returncode)(f"`geodrop {' '.join(arguments)}` failed: {said}")
        return done.stdout

    def explain(self, addresses: Sequence[str], *options: str) -> list[dict[str, Any]]:
        """One object of `explain --json` for each address (the demo's policies have one service), in order."""
        answers = self.run("explain", *options, "--json", "-", given="".join(f"{text}\n" for text in addresses))
        return [json.loads(line) for line in answers.splitlines()]


def error_of(code: int) -> type[errors.GeodropError]:
    """The class of errors that ends with this exit code; ApplyError where there is none."""
    kinds = (
        errors.UsageError,
        errors.NotEnforcingError,
        errors.DataError,
        errors.UnavailableError,
        errors.BusyError,
        errors.PrivilegeError,
        errors.ConfigError,
    )
    return next((kind for kind in kinds if kind.exit_code == code), errors.ApplyError)
