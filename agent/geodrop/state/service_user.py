# SPDX-License-Identifier: Apache-2.0
"""The user that the daemon runs as, to test that user's rights: the daemon may lack a right that root has."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "geodrop"
"""systemd/geodrop.sysusers makes this user."""


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A user: name, uid, gid and supplementary groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Act with only this user's rights meanwhile, if this process is root; otherwise change nothing.

        The whole process has these rights meanwhile, so this is for commands with one thread.
        """
        if os.geteuid() != 0 or self.uid == 0:
            yield
            return
        groups, gid = os.getgroups(), os.getegid()
        os.setgroups(self.groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)


def service_user(state: Path) -> ServiceUser:
    """Return the owner of the state directory; if there is none yet, the user NAME, or else the current user.

    Without root, return the current user.
    """
    uid = os.geteuid()
    if uid != 0:
        return _by_number(uid)
    with suppress(FileNotFoundError, NotADirectoryError):
        return _by_number(state.stat().st_uid)
    try:
        return _of(pwd.getpwnam(NAME))
    except KeyError:
        return _by_number(uid)


def _by_number(uid: int) -> ServiceUser:
    try:
        return _of(pwd.getpwuid(uid))
    except KeyError:
        return ServiceUser(str(uid), uid, os.getegid(), ())


def _of(entry: pwd.struct_passwd) -> ServiceUser:
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return ServiceUser(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(groups))
