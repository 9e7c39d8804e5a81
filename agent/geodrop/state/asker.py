# SPDX-License-Identifier: Apache-2.0
"""The name behind root: sudo hands on who became root, and the history tells it."""

from __future__ import annotations

import os

MAX_NAME = 64
"""Characters of a user's name. Linux takes 32, directories of large sites more."""


def sudo_user() -> str:
    """Return the user who became root by sudo, as sudo says in SUDO_USER; "" if there is none.

    Only root is believed: any other process may put what it likes into its environment.
    """
    name = os.environ.get("SUDO_USER", "")
    return name if os.geteuid() == 0 and is_name(name) else ""


def user_of(uid: int) -> str:
    """Return the name of a user, or the number as text if no name is known."""
    import pwd  # noqa: PLC0415 - few need it

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
    return name if is_name(name) else str(uid)


def is_name(name: object) -> bool:
    """Whether this can be the name of a user: short printable text without spaces."""
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable() and " " not in name
