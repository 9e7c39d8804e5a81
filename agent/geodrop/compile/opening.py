# SPDX-License-Identifier: Apache-2.0
"""Open policy, databases and logs for the compile child, on the side that has the rights to."""

from __future__ import annotations

from geodrop.errors import ConfigError, DataError, not_opened
from geodrop.inputs import open_regular


def open_policy(path: str) -> int:
    """Open a policy for reading. Raises ConfigError or PrivilegeError if it cannot be opened."""
    try:
        return open_regular(path)
    except OSError as error:
        raise not_opened(path, error, ConfigError, "name a policy file that can be read") from error


def open_database(path: str) -> int:
    """Open a database for reading. Raises DataError or PrivilegeError if it cannot be opened."""
    try:
        return open_regular(path)
    except OSError as error:
        raise not_opened(path, error, DataError, "name a GeoIP database (.mmdb) that can be read") from error


def open_log(path: str) -> int:
    """Open a log for reading. Raises DataError or PrivilegeError if it cannot be opened."""
    try:
        return open_regular(path)
    except OSError as error:
        raise not_opened(path, error, DataError, "name a log that is a file, or - for standard input") from error
