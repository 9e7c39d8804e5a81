"""What root makes by hand belongs to whom the folder around it belongs: the daemon must be able to use it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def adopt(made: int | str | Path, folder: int | str | Path) -> None:
    """Give a new file (a descriptor, or a name that is not followed) to a folder's owner and group.

    Raises OSError. Nothing happens unless root runs this and the folder is somebody else's.
    """
    owner = os.stat(folder)
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    if isinstance(made, int):
        os.fchown(made, owner.st_uid, owner.st_gid)
    else:
        os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)
