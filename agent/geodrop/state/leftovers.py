"""What nobody will ask for again: state directories of network namespaces that went with an earlier boot."""

from __future__ import annotations

import os
import shutil

from geodrop.state.places import is_of_earlier_boot, states_of_namespaces


def remove_leftovers() -> None:
    """Remove them as far as this process may; that some stay is no failure of whoever has better things to do.

    Root does this in a folder of the daemon's user: what that user puts in the folder's place must not lead elsewhere.
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
