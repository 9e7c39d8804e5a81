# SPDX-License-Identifier: Apache-2.0
"""The keys that a host trusts to sign rulesets, as the files of `keys` and `revoked_keys` in agent.yaml name them.

The user who can write these files decides what is accepted. So root has to own them and each folder on the way, and no
other user may write there. That includes the daemon's user, since the daemon reads what an attacker may have sent.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Self

from geodrop.errors import ConfigError, not_opened
from geodrop.inputs import MAX_LINKS, open_regular, read_regular

MAX_KEYS = 1 << 20
MAX_REVOKED = 16 << 20
"""Bytes of the two files."""

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """What the two files hold: `path` and `allowed` of the file of keys, and `revoked`, None if no file is named."""

    path: str
    allowed: bytes
    revoked: bytes | None = None
    revoked_path: str = ""

    @classmethod
    def read(cls, path: str, revoked: str | None) -> Self:
        """Read the files. Raises ConfigError if one is missing or others than root can change it."""
        withdrawn = _content(revoked, MAX_REVOKED, "revoked_keys") if revoked else None
        return cls(path, _content(path, MAX_KEYS, "keys"), withdrawn, revoked or "")


def _content(path: str, limit: int, key: str) -> bytes:
    try:
        # First the way: once root alone can change it, nobody leads it elsewhere before the file is opened.
        _refuse_open_way(path)
        descriptor = open_regular(path)
        try:
            _refuse_writable(path, os.fstat(descriptor))
            return read_regular(f"/proc/self/fd/{descriptor}", limit)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise not_opened(path, error, ConfigError, f"put it there, or correct `{key}` in agent.yaml") from error


def _refuse_open_way(path: str) -> None:
    """Raise ConfigError if others than root can change a folder or a link on the way to a file, OSError if one cannot
    be read.

    They could not write the file, but lead the way to another file of root's, such as one that holds a line of theirs.
    """
    here, ahead, links = "/", os.path.join(os.getcwd(), path).split("/")[::-1], 0
    while ahead:
        step = ahead.pop()
        if step == "..":
            here = os.path.dirname(here)
        elif step not in {"", "."}:
            _refuse_writable(here, os.stat(here))
            found = os.path.join(here, step)
            if not os.path.islink(found):
                here = found
                continue
            _refuse_writable(found, os.lstat(found))
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(found)
            ahead += target.split("/")[::-1]
            here = "/" if target.startswith("/") else here


def _refuse_writable(path: str, found: os.stat_result) -> None:
    """Raise ConfigError if others than root can change a file, what is in a folder, or a link."""
    others = found.st_mode & _OTHERS
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        # A link has no mode. In a folder such as /tmp nobody can replace what belongs to another user.
        others = 0
    if found.st_uid == 0 and not others:
        return
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    owner = "root:geodrop" if stat.S_ISREG(found.st_mode) else "-h root"
    raise ConfigError(
        f"{path}: others than root can change it (owner {found.st_uid}, mode {mode}), so it cannot say whom to trust",
        f"chown {owner} {path}" + (f"; chmod go-w {path}" if others else ""),
    )
