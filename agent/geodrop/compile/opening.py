"""Open what a compile reads, by the side that may: policy, databases, and list files beneath the policy."""

from __future__ import annotations

import os

from geodrop.errors import ConfigError, DataError, PrivilegeError, not_opened, user_name
from geodrop.inputs import open_regular


def open_policy(path: str) -> int:
    """Open a policy for reading; raises ConfigError or PrivilegeError if it cannot be."""
    try:
        return open_regular(path)
    except OSError as error:
        raise not_opened(path, error, ConfigError, "name a policy file that can be read") from error


def open_database(path: str) -> int:
    """Open a database for reading; raises DataError or PrivilegeError if it cannot be."""
    try:
        return open_regular(path)
    except OSError as error:
        raise not_opened(path, error, DataError, "name a GeoIP database (.mmdb) that can be read") from error


def open_beneath(folder: int, name: str) -> int:
    """Open a file inside a folder, given by descriptor, following no link and no `..`; raises OSError, ValueError.

    Root does this for a child that may be under somebody's control, so a name must never lead out of the folder.
    Raises PrivilegeError too, where the user may not read it.
    """
    *parents, last = name.split("/")
    if not last or any(part in ("", ".", "..") for part in (*parents, last)):
        raise ValueError("must name a file inside the policy's folder")
    at = os.dup(folder)
    try:
        for part in parents:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        return open_regular(last, folder=at, follow=False)
    except PermissionError as error:
        raise PrivilegeError(f"user {user_name()} may not read it") from error
    finally:
        os.close(at)
