# SPDX-License-Identifier: Apache-2.0
"""Remove state directories of network namespaces of an earlier boot: such a namespace never comes back."""

from __future__ import annotations

import os
import shutil

from geodrop.state.places import is_of_earlier_boot, states_of_namespaces


def remove_leftovers() -> None:
    """Remove these directories as far as this process may; failing to remove one is ignored.

    Root does this in a folder of the daemon's user: if that user replaces the folder by a link, root does not follow.
    """
    try:
        folder = os.open(states_of_namespaces(), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        for name in filter(is_of_earlier_boot, os.listdir(folder)):
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
    finally:
        os.close(folder)
