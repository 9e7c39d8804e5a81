# SPDX-License-Identifier: Apache-2.0
"""The real command line in a subprocess, in a network namespace, with its own state directory."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.support.namespaces import Namespace

TIMEOUT = 300  # seconds; every command here is short, and one that hangs must not hang the suite


@dataclass(frozen=True)
class Done:
    """The result of a command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the verb prints
        """Return standard output as one JSON value."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """Return standard output as JSON values, one per line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Geodrop:
    """Runs `geodrop` with its agent.yaml in a folder, inside a namespace if one is given.

    `before` is put in front of the command, for a test that runs it with fewer rights or facilities.
    """

    folder: Path
    namespace: Namespace | None = None
    before: Sequence[str] = ()

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line."""
        config = self.folder / "agent.yaml"
        if not config.exists():
            config.write_text(f"state: {self.folder / 'state'}\nsocket: {self.folder / 'control.sock'}\n")
        entering = ["nsenter", f"--net=/run/netns/{self.namespace.name}"] if self.namespace else []
        return [*entering, *self.before, sys.executable, "-m", "geodrop", "--config", str(config), *arguments]

    def run(self, *arguments: str, stdin: str | None = None) -> Done:
        """Run a command line to its end."""
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def good(self, *arguments: str, stdin: str | None = None) -> Done:
        """Run a command line that must succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 0, f"geodrop {' '.join(arguments)}: exit {done.code}\n{done.out}{done.err}"
        return done

    def compile(self, policy: str, *databases: Path, name: str = "test") -> Path:
        """Compile a policy given as text into a ruleset file in the folder."""
        source, output = self.folder / f"{name}.yaml", self.folder / f"{name}.ruleset"
        source.write_text(policy)
        options = [item for database in databases for item in ("--database", str(database))]
        self.good("compile", "--policy", str(source), *options, "-o", str(output))
        return output


def on_terminal(command: Sequence[str], columns: int, environment: Mapping[str, str] | None = None) -> str:
    """Return what a command shows on a terminal of this many columns, messages included."""
    controller, terminal = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=inherited | {"COLUMNS": str(columns)} | dict(environment or {}),
    )
    os.close(terminal)
    shown = bytearray()
    try:
        while piece := os.read(controller, 1 << 16):
            shown += piece
    except OSError:
        pass  # The other end is closed: a terminal reports its end this way.
    finally:
        os.close(controller)
        process.wait(TIMEOUT)
    return shown.decode().replace("\r\n", "\n")
