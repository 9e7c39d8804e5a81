# SPDX-License-Identifier: Apache-2.0
"""Completions, in the shells themselves: a person types, presses Tab and then Enter."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from deploy.packages import completions
from geodrop.cli.main import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60
"""Limit for what a shell prints."""

BASH = """
PS1='READY> '
geodrop() { printf 'RAN:'; printf '<%s>' "$@"; echo; }
source "$FOLDER/geodrop"
"""
ZSH = """
PS1='READY> '
geodrop() { printf 'RAN:'; printf '<%s>' "$@"; echo }
fpath=("$FOLDER" $fpath)
autoload -Uz compinit
compinit -u -D
"""
START = {"bash": (BASH, ["bash", "--noprofile", "--norc", "-i"]), "zsh": (ZSH, ["zsh", "-f", "-i"])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the three files, a ruleset and a folder of its own for each shell's history."""
    for shell in ("bash", "zsh", "fish"):
        if not shutil.which(shell):
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI must have {shell}")
            pytest.skip(f"{shell} is missing")
    (tmp_path / "geodrop").write_text(completions.bash())
    (tmp_path / "_geodrop").write_text(completions.zsh())
    (tmp_path / "geodrop.fish").write_text(completions.fish())
    (tmp_path / "some.ruleset").write_text("")
    return tmp_path


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        setup, command = START[name]
        self._terminal, inside = pty.openpty()
        clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "FOLDER": str(folder)}
        self._shell = subprocess.Popen(
            command, cwd=folder, env=clean, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        os.close(inside)
        (folder / "setup").write_text(setup)
        os.write(self._terminal, b". ./setup\n")
        self._read_until("READY> ")

    def type(self, text: str) -> str:
        """Type a text and Enter; return the arguments that `geodrop` was run with."""
        os.write(self._terminal, text.encode() + b"\n")
        self._read_until("RAN:")
        return self._read_until("\r\n")

    def end(self) -> None:
        """End the shell."""
        self._shell.kill()
        self._shell.wait()
        os.close(self._terminal)

    def _read_until(self, text: str) -> str:
        """Read to the end of a text; return what stood before it. Bytes after it stay for the next."""
        said = ""
        deadline = time.monotonic() + SECONDS
        while not said.endswith(text):
            if not select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
                pytest.fail(f"no {text!r} within {SECONDS} s: {said!r}")
            said += os.read(self._terminal, 1).decode(errors="replace")
        return said.removesuffix(text)


@pytest.fixture(params=START)
def shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shell]:
    """Yield each shell, with the completion where it looks for it."""
    made = Shell(request.param, folder)
    yield made
    made.end()


def test_a_tab_completes(shell: Shell) -> None:
    """A command, an option of that command, its choices and a file."""
    assert shell.type("geodrop sim\t") == "<simulate>"
    assert shell.type("geodrop pause --f\t2h") == "<pause><--for><2h>"
    assert shell.type("geodrop load --eng\tnf\tsome.r\t") == "<load><--engine><nftables><some.ruleset>"


def test_fish(folder: Path) -> None:
    """It answers what Tab would offer: each command, options, choices and files."""

    def offered(line: str) -> list[str]:
        script = f"source geodrop.fish; complete --do-complete '{line}'"
        clean = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        command = ["fish", "-N", "-c", script]
        done = subprocess.run(command, cwd=folder, env=clean, text=True, capture_output=True, check=True)
        return [one.split("\t")[0] for one in done.stdout.splitlines()]

    assert set(offered("geodrop ")) == set(VERBS)
    assert offered("geodrop pause --f") == ["--for"]
    assert offered("geodrop load --engine nf") == ["nftables"]
    assert "some.ruleset" in offered("geodrop load some")
    assert offered("geodrop status x") == []


def test_every_command_and_option_is_known() -> None:
    """A command or an option that is added to the parsers is in the files without further ado."""
    bash, zsh, fish = completions.bash(), completions.zsh(), completions.fish()
    for verb in VERBS:
        for one in completions.arguments(verb):
            for spelling in one.spellings:
                assert spelling in bash
                assert f"{spelling}[" in zsh
                assert f" {spelling.lstrip('-')} " in fish
