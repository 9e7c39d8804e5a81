# SPDX-License-Identifier: Apache-2.0
"""Run commands as another user than root, also if only root can enter the folder that holds this tree (/root)."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOBODY = 65_534

ENTERED = """
tree="$1" closed="$2" held="$(mktemp -d)"
mount --bind "$tree" "$held" && mount -t tmpfs -o mode=755 tmpfs "$closed" && mkdir -p "$tree" || exit
mount --move "$held" "$tree" && rmdir "$held" && cd "$tree" && shift 2 && exec "$@"
"""
"""Runs in its own mount namespace: replaces the closed folder by an open one that holds nothing but the tree."""


def as_user(number: int = NOBODY, *capabilities: str) -> tuple[str, ...]:
    """Return the beginning of a command line that runs as a user, in no group, with only these capabilities."""
    given = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    become = (f"--reuid={number}", f"--regid={number}", "--clear-groups", "--no-new-privs")
    limits = (f"--bounding-set={given}", f"--inh-caps={given}", f"--ambient-caps={given}")
    return (*_where_others_can_enter(), "setpriv", *become, *limits)


def open_to_others(folder: Path) -> None:
    """Let other users into a folder of a test: pytest closes the folders that it makes, several above one another."""
    for path in (folder, *folder.parents):
        mode = path.stat().st_mode
        if path.stat().st_uid == os.geteuid() and mode & 0o055 != 0o055:
            path.chmod(mode & 0o7777 | 0o055)


def _where_others_can_enter() -> tuple[str, ...]:
    closed = [folder for folder in reversed(ROOT.parents) if not folder.stat().st_mode & 0o001]
    return ("unshare", "--mount", "sh", "-c", ENTERED, "sh", str(ROOT), str(closed[0])) if closed else ()
