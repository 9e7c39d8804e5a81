# SPDX-License-Identifier: Apache-2.0
"""Give files that root makes by hand to the owner of their folder, so that the daemon can use them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def adopt(made: int | str | Path, folder: int | str | Path) -> None:
    """Give a new file (a descriptor, or a path; a symbolic link is not followed) to a folder's owner and group.

    Does nothing unless this process is root and another user owns the folder. Raises OSError.
    """
    owner = os.stat(folder)
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    if isinstance(made, int):
        os.fchown(made, owner.st_uid, owner.st_gid)
    else:
        os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)
