# SPDX-License-Identifier: Apache-2.0
"""Where the engine's objects are pinned: a folder of a bpffs for each network namespace.

    links/IFINDEX      one bpf_link for each interface
    set-N-VERSION/     everything that one loaded program needs: program, maps, and the maps of both slots

There is one set; there are two while links move from an old program to a new one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import Excused, PrivilegeError, UnavailableError
from geodrop.linux import libbpf
from geodrop.linux.libc import call
from geodrop.linux.owner import adopt
from geodrop.state import places

if TYPE_CHECKING:
    from pathlib import Path

BPFFS_MAGIC = 0xCAFE4A11  # linux/magic.h
SET_NAME = re.compile(r"set-(\d+)-([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Pins:
    """One network namespace's folder."""

    folder: Path

    @classmethod
    def default(cls) -> Pins:
        """Return the folder of the calling thread's network namespace."""
        return cls(places.default_pins())

    def check(self) -> None:
        """Raise UnavailableError if there is no bpffs, PrivilegeError if we may not use it."""
        mount = next(parent for parent in self.folder.parents if parent.exists())
        if _filesystem(mount) != BPFFS_MAGIC:
            raise UnavailableError(
                f"{mount} is no bpffs, and XDP programs must be pinned in one to outlive this process",
                "mount one: mount -t bpf bpf /sys/fs/bpf",
            )
        if not os.access(mount, os.W_OK | os.X_OK):
            raise PrivilegeError(f"{mount} may not be written", "run as root, or as the owner of the bpffs")
        if self.folder.exists() and not self.folder.is_dir():
            raise UnavailableError(f"{self.folder} is not geodrop's folder of pins", "move it out of the way")
        # Root, by hand, may continue with what the daemon's user pinned in its own bpffs, which stays that user's.
        trusted = {os.geteuid(), *([mount.stat().st_uid] if os.geteuid() == 0 else [])}
        if self.folder.exists() and self.folder.stat().st_uid not in trusted:
            raise UnavailableError(
                f"{self.folder} belongs to uid {self.folder.stat().st_uid}", "unload as that user, or remove it"
            )

    def make(self) -> None:
        """Make the folder, accessible to us only, or to the daemon's user if root makes it in the daemon's bpffs."""
        if self.folder.is_relative_to(places.OWN_BPFFS):
            # A fresh mount belongs to root, so the daemon could not enter what root pins there by hand.
            adopt(places.OWN_BPFFS, places.RUN)
        missing = [path for path in (self.links, *self.links.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700)
            adopt(path, path.parent)

    @property
    def links(self) -> Path:
        """The folder of links."""
        return self.folder / "links"

    def link_indexes(self) -> list[int]:
        """Return the numbers of the interfaces that a link is pinned for."""
        return sorted(int(name) for name in _names(self.links) if name.isdecimal())

    def sets(self) -> list[Path]:
        """Return the folders of the sets, the newest first."""
        found = [self.folder / name for name in _names(self.folder) if SET_NAME.fullmatch(name)]
        return sorted(found, key=_number, reverse=True)

    def new_set(self, version: str) -> Path:
        """Make the folder of a new set."""
        number = max(map(_number, self.sets()), default=0) + 1
        path = self.folder / f"set-{number}-{version}"
        path.mkdir(mode=0o700)
        adopt(path, path.parent)
        return path

    def remove(self) -> None:
        """Remove the folder with everything of ours in it; objects that only these pins hold end with them.

        Raises UnavailableError, after all of that is removed, if something else is in the folder.
        """
        for index in self.link_indexes():
            (self.links / str(index)).unlink()
        try:
            for path in self.sets():
                remove_set(path)
            for path in (self.links, self.folder):
                with suppress(FileNotFoundError):
                    path.rmdir()
        except OSError as error:
            raise UnavailableError(
                f"{error.filename} cannot be removed ({error.strerror}): another program put something there",
                "look at it, and remove it",
            ) from error
        # The folder of all namespaces, if this was the last one; another process may already use it again.
        for path in list(self.folder.parents)[:2]:
            if path.name in ("netns", "geodrop"):
                with Excused(errno.ENOTEMPTY, errno.ENOENT, errno.EACCES, errno.EPERM):
                    path.rmdir()


def version_of(path: Path) -> str:
    """Return the program version of a set, from its folder's name."""
    matched = SET_NAME.fullmatch(path.name)
    return matched[2] if matched else ""


def remove_set(path: Path) -> None:
    """Remove a set's pins and its folder."""
    for pinned in path.iterdir():
        pinned.unlink()
    path.rmdir()


def repin(fd: int, path: Path) -> None:
    """Pin an object under a name that an older object may still have."""
    with suppress(FileNotFoundError):
        path.unlink()
    libbpf.pin(fd, str(path))


def _names(folder: Path) -> list[str]:
    """Return the names in a folder; empty if the folder does not exist."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _number(path: Path) -> int:
    matched = SET_NAME.fullmatch(path.name)
    return int(matched[1]) if matched else 0


def _filesystem(path: Path) -> int:
    """Return the magic number of a path's file system: `f_type`, the first word of struct statfs."""
    result = (ctypes.c_long * 32)()
    call("statfs", os.fsencode(path), ctypes.byref(result), about=str(path))
    return int(result[0]) & 0xFFFF_FFFF
