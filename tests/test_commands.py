# SPDX-License-Identifier: Apache-2.0
"""What tests run is there on a fresh machine: Debian's own, or what the Makefile installs for `make test`."""

from __future__ import annotations

import ast
from pathlib import Path

from geodrop.cli.main import VERBS

TESTS = Path(__file__).parent
MAKEFILE = (TESTS.parent / "Makefile").read_text(encoding="utf-8")
FRESH = {"cp", "dpkg", "dpkg-deb", "env", "mount", "nsenter", "sh", "umount", "unshare"}
"""Commands of packages that Debian calls essential, so every machine has them."""
INSTALLED = {
    **{name: name for name in ("git", "ip", "nft", "ssh-keygen")},
    **dict.fromkeys(("ssh-add", "ssh-agent"), "ssh-keygen"),
}
"""Commands of other packages, with the one of the same package that the Makefile looks for before `make test`."""
OTHER_MACHINES = ("system", "fleet")
"""Suites whose commands run on machines with packages of their own."""
OTHER_TARGETS = {"bare.py", "kernels.py", "emulated", "test_verifier.py", "bench"}
"""Files that other targets of the Makefile serve, which install more."""


def started(path: Path) -> set[str]:
    """Return the first words of commands that a file of tests gives to `run` and the like, where they are literals."""
    words = set()
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        first = call.args[0]
        if isinstance(first, ast.List | ast.Tuple) and first.elts:
            first = first.elts[0]
        if name in {"run", "Popen", "check_output", "check_call"} and isinstance(first, ast.Constant):
            words.add(str(first.value))
    return words


def test_every_command_is_there() -> None:
    """A command of a package that no target installs fails on a fresh machine alone, where nobody looks."""
    strangers = {}
    for path in sorted(TESTS.rglob("*.py")):
        parts = path.relative_to(TESTS).parts
        if parts[0] in OTHER_MACHINES or OTHER_TARGETS & set(parts):
            continue
        words = {word for word in started(path) if not word.startswith("-")}
        if unknown := words - FRESH - INSTALLED.keys() - VERBS.keys():
            strangers["/".join(parts)] = unknown
    assert not strangers


def test_what_is_not_fresh_is_installed() -> None:
    """The Makefile installs the packages of these commands."""
    assert {name for name in INSTALLED.values() if f"command -v {name}" not in MAKEFILE} == set()
