# SPDX-License-Identifier: Apache-2.0
"""What a tree must be like to be released: clean, under one version everywhere, and true to what it has promised."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from deploy.release import changelog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = "agent/geodrop/__init__.py"
"""The one place of the version."""
COLLECTION = "deploy/ansible/galaxy.yml"
CHANGELOG = "CHANGELOG.md"
PROMISED = "tests/promised.txt"
FIXTURES = "tests/formats"

Number = tuple[int, int, int]

_IN_SOURCE = re.compile(r'^__version__ = "([^"]*)"$', re.MULTILINE)
_IN_COLLECTION = re.compile(r"^version: *[\"']?([^\s\"']+)", re.MULTILINE)
_NUMBER = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)")


def version(root: Path) -> str:
    """Return the version of a tree. Raises ValueError if it has none."""
    found = _IN_SOURCE.search((root / SOURCE).read_text(encoding="utf-8"))
    if not found or not _NUMBER.fullmatch(found[1]):
        raise ValueError(f"{SOURCE} has no __version__ of three numbers")
    return found[1]


def problems(root: Path) -> Iterator[str]:
    """Yield what keeps a tree from being released: what is wrong, where, and the next step, a line each."""
    try:
        name = version(root)
    except ValueError as error:
        yield str(error)
        return
    if changed := git(root, "status", "--porcelain").splitlines():
        yield f"the tree is not clean ({len(changed)} files, first {changed[0][3:]}); commit or remove them"
    yield from _told(root, name)
    yield from one_version(root)
    tagged = git(root, "rev-list", "-n1", f"v{name}", missing="") if git(root, "tag", "--list", f"v{name}") else ""
    if tagged and tagged != git(root, "rev-parse", "HEAD"):
        yield f"v{name} is the tag of another commit; raise the version in {SOURCE}"
    if last := before(root, name):
        yield from _since(root, last, name)


def one_version(root: Path) -> Iterator[str]:
    """Yield where another version is than in the source, from which wheel and packages have theirs."""
    name, collection = version(root), root / COLLECTION
    if not collection.exists():
        return
    found = _IN_COLLECTION.search(collection.read_text(encoding="utf-8"))
    if not found or found[1] != name:
        yield f"{COLLECTION} has version {found[1] if found else 'none'}, {SOURCE} {name}; write {name} in both"


def before(root: Path, name: str) -> str:
    """Return the tag of the last release before a version; "" if there is none."""
    tags = [tag for tag in git(root, "tag", "--merged", "HEAD").split() if _NUMBER.fullmatch(tag[1:])]
    earlier = [tag for tag in tags if tag != f"v{name}"]
    return max(earlier, key=lambda tag: number(tag[1:]), default="")


def number(name: str) -> Number:
    """Return the three numbers of a version."""
    found = _NUMBER.fullmatch(name)
    if not found:
        raise ValueError(name)
    return int(found[1]), int(found[2]), int(found[3])


def _told(root: Path, name: str) -> Iterator[str]:
    """Yield what CHANGELOG.md lacks."""
    versions = changelog.read((root / CHANGELOG).read_text(encoding="utf-8"))
    if name not in versions:
        yield f"{CHANGELOG} has no section for {name}; write  ## {name} (YEAR-MONTH-DAY)  in place of Unreleased"
        return
    told = versions[name]
    yield from (f"{CHANGELOG}:{told.line}: {what}" for what in told.problems())
    if next(iter(versions)) != name:
        yield f"{CHANGELOG}:{told.line}: {name} is not the first section; what is above it belongs to this release"


def _since(root: Path, last: str, name: str) -> Iterator[str]:
    """Yield what has changed since the last release more than the version says (docs/compatibility.md)."""
    old, new = number(last[1:]), number(name)
    if new <= old:
        yield f"{name} does not come after {last}; raise the version in {SOURCE}"
        return
    promised = set(git(root, "show", f"{last}:{PROMISED}", missing="").splitlines())
    present = set((root / PROMISED).read_text(encoding="utf-8").splitlines())
    breaks = new[0] > old[0] or (old[0] == 0 and new[1] > old[1])
    if (gone := sorted(promised - present)) and not breaks:
        wanted = f"{old[0] + 1}.0.0" if old[0] else f"0.{old[1] + 1}.0"
        yield f"{len(gone)} names that {last} promised are gone, first: {gone[0]}; that takes version {wanted}"
    if promised and present - promised and new[:2] == old[:2]:
        yield f"there are new names ({min(present - promised)}); that takes version {old[0]}.{old[1] + 1}.0"
    known = git(root, "ls-tree", "-r", "--name-only", last, FIXTURES).split()
    for file in known:
        if not file.endswith(".py") and git(root, "diff", "--name-only", last, "--", file):
            yield f"{file} differs from that of {last}: the format needs a new number, and the old fixture stays"


def git(root: Path, *arguments: str, missing: str | None = None) -> str:
    """Return what a git command prints. If it fails, return `missing`, or raise subprocess.CalledProcessError."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=missing is None)
    return done.stdout.rstrip("\n") if done.returncode == 0 else missing or ""
