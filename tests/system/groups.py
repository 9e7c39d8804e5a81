# SPDX-License-Identifier: Apache-2.0
"""Control groups for machines that run at the same time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HYBRID = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"))
"""Where cgroup v2 is mounted beside v1 (cgroups(7)), and systemd's own hierarchy there."""


def in_a_group_of_its_own(name: str, command: Sequence[str]) -> list[str]:
    """Return a command that runs in control groups of its own, on a machine with the old and the new kind together.

    nspawn starts a machine in `payload`, below the group of its caller. Two machines at a time would share one, and the
    systemd of each would find processes in its services that it cannot name: it stops no service for sure, and forgets
    none. Where all controllers are of the new kind, a group below one with processes would have none of them.
    """
    groups = [folder / f"geodrop-{name}" for folder in HYBRID if folder.is_dir()]
    for group in groups:
        group.mkdir(exist_ok=True)
    join = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
    return ["sh", "-c", f'{join}exec "$@"', "sh", *command]


def end_group(name: str) -> None:
    """Remove what in_a_group_of_its_own made; groups whose processes are still ending stay, empty."""
    for folder in HYBRID:
        for group, _, _ in os.walk(folder / f"geodrop-{name}", topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(group)
