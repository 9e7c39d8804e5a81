# SPDX-License-Identifier: Apache-2.0
"""What a new user has: this tree as it would be committed, on a machine of its own, and the text of README.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

from tests.support.namespaces import run
from tests.system.machine import REPOSITORY


def checkout(to: Path) -> None:
    """Copy the tree, without files that only this checkout has."""
    names = "\n".join(name for name in _names() if (REPOSITORY / name).exists())
    to.mkdir(parents=True)
    packed = to.with_suffix(".tar")
    pack = ("tar", "-C", str(REPOSITORY), "--owner=0", "--group=0", "-cf", str(packed), "-T", "-")
    subprocess.run(pack, input=names, text=True, check=True)
    run("tar", "-C", str(to), "-xf", str(packed))
    packed.unlink()


def _names() -> list[str]:
    """Return the paths that git knows or would add; a bare machine has no git, and only .gitignore to go by."""
    if (REPOSITORY / ".git").exists() and shutil.which("git"):
        listed = run("git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        return [name for name in listed.split("\0") if name]
    text = (REPOSITORY / ".gitignore").read_text(encoding="utf-8")
    ignored = [".git", *(line.strip("/") for line in text.split())]
    found: list[Path] = []
    for folder, inside, files in os.walk(REPOSITORY):
        here = Path(folder).relative_to(REPOSITORY)
        inside[:] = [name for name in inside if not _is_ignored(here / name, ignored)]
        linked = [name for name in inside if (Path(folder) / name).is_symlink()]
        found += [here / name for name in (*files, *linked) if not _is_ignored(here / name, ignored)]
    return [str(path) for path in found]


def _is_ignored(path: Path, patterns: list[str]) -> bool:
    return any(fnmatch(str(path), one) or fnmatch(path.name, one) for one in patterns)


def commands(holding: str) -> list[str]:
    """Return the command lines of the block of README.md that contains a text, without their comments."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    [block] = [block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if holding in block]
    return [line.split("  #")[0].strip() for line in block.splitlines()]
