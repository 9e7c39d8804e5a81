"""The user that the daemon runs as, and what that user may do: that root may read a file says nothing of the daemon."""

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
"""systemd/geodrop.sysusers makes it."""


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """A user by name, with its numbers and its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Have this user's rights and no other for a while, as far as they are not ours already.

        For a command of one thread: meanwhile the whole process has them.
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
    """Whom the state directory belongs to; if there is none yet, the user that `make install` makes, or else ourselves.

    Whoever is not root can answer for itself only.
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
