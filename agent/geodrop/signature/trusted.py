"""The keys that a host trusts to sign rulesets, as the files of `keys` and `revoked_keys` in agent.yaml name them.

The user who can write these files decides what is accepted. So root has to own them and their folder, and no other user
may write there. That includes the daemon's user, since the daemon reads what an attacker may have sent.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Self

from geodrop.errors import ConfigError, not_opened
from geodrop.inputs import open_regular, read_regular

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
        descriptor = open_regular(path)
        try:
            _refuse_writable(path, os.fstat(descriptor))
            content = read_regular(f"/proc/self/fd/{descriptor}", limit)
        finally:
            os.close(descriptor)
        folder = os.path.dirname(os.path.realpath(path))
        _refuse_writable(folder, os.stat(folder))
    except OSError as error:
        raise not_opened(path, error, ConfigError, f"put it there, or correct `{key}` in agent.yaml") from error
    return content


def _refuse_writable(path: str, found: os.stat_result) -> None:
    """Raise ConfigError if others than root can change a file, or what is in a folder."""
    # In a folder such as /tmp nobody can replace the files of another user.
    others = found.st_mode & _OTHERS and not found.st_mode & stat.S_ISVTX
    if found.st_uid == 0 and not others:
        return
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    raise ConfigError(
        f"{path}: others than root can change it (owner {found.st_uid}, mode {mode}), so it cannot say whom to trust",
        f"chown root:geodrop {path}; chmod go-w {path}",
    )
