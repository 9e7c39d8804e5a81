# SPDX-License-Identifier: Apache-2.0
"""Run the real `geodrop` command as an operator would, in the demo's folder and in the API's namespace."""

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
    """A place where commands run: a network namespace of the demo."""

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` there."""


@dataclass(frozen=True, slots=True)
class DemoVerbs:
    """Runs verbs with `folder` as the current folder.

    agent.yaml there names a state directory inside the folder, so that no state is left behind.
    """

    folder: Path
    namespace: CommandHost

    def run(self, *arguments: str, given: str | None = None, expected: int = 0) -> str:
        """Run a verb and return its stdout; `given` is its standard input.

        Raises the error class of the verb's exit code, with the verb's stderr as the message, unless it is `expected`.
        """
        command = [sys.executable, "-P", "-m", "geodrop", "--config", CONFIG, *arguments]
        done = subprocess.run(
            self.namespace.inside(command), cwd=self.folder, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode != expected:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise error_of(done.returncode)(f"`geodrop {' '.join(arguments)}` failed: {said}")
        return done.stdout

    def explain(self, addresses: Sequence[str], *options: str) -> list[dict[str, Any]]:
        """Return one object of `explain --json` for each address, in order (the demo's policies have one service)."""
        answers = self.run("explain", *options, "--json", "-", given="".join(f"{text}\n" for text in addresses))
        return [json.loads(line) for line in answers.splitlines()]


def error_of(code: int) -> type[errors.GeodropError]:
    """Return the error class that has this exit code; ApplyError if no class has it."""
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
