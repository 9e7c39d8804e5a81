"""Where the engine's objects are pinned: a folder of a bpffs for each network namespace.

    links/IFINDEX      one bpf_link for each interface
    set-N-VERSION/     program, maps and the maps of both slots: everything that one loaded program needs

There is one set, and for a moment two while links move from an old program to a new one.
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
from geodrop.state.places import default_pins

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
        """The folder of the calling thread's network namespace."""
        return cls(default_pins())

    def check(self) -> None:
        """Raises UnavailableError where there is no bpffs, PrivilegeError where it is not ours to use."""
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
        # Root by hand goes on with what the daemon's user pinned in its own bpffs, and leaves it to that user.
        trusted = {os.geteuid(), *([mount.stat().st_uid] if os.geteuid() == 0 else [])}
        if self.folder.exists() and self.folder.stat().st_uid not in trusted:
            raise UnavailableError(
                f"{self.folder} belongs to uid {self.folder.stat().st_uid}", "unload as that user, or remove it"
            )

    def make(self) -> None:
        """Make the folder, for us alone."""
        missing = [path for path in (self.links, *self.links.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700)
            adopt(path, path.parent)

    @property
    def links(self) -> Path:
        """The folder of links."""
        return self.folder / "links"

    def link_indexes(self) -> list[int]:
        """Interfaces that a link is pinned for, by number."""
        return sorted(int(name) for name in _names(self.links) if name.isdecimal())

    def sets(self) -> list[Path]:
        """Sets that are there, the newest first."""
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
        """Remove the folder with all that is ours in it; objects that nothing else holds go with their pins.

        Raises UnavailableError, once all of that is gone, where something else is in the way.
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
                f"{error.filename} cannot be removed ({error.strerror}): somebody else put something there",
                "look at it, and remove it",
            ) from error
        # The folder of all namespaces, if this was the last one; somebody may be using it again already.
        for path in list(self.folder.parents)[:2]:
            if path.name in ("netns", "geodrop"):
                with Excused(errno.ENOTEMPTY, errno.ENOENT, errno.EACCES, errno.EPERM):
                    path.rmdir()


def version_of(path: Path) -> str:
    """The program version of a set."""
    matched = SET_NAME.fullmatch(path.name)
    return matched[2] if matched else ""


def remove_set(path: Path) -> None:
    """Remove a set's pins."""
    for pinned in path.iterdir():
        pinned.unlink()
    path.rmdir()


def repin(fd: int, path: Path) -> None:
    """Pin under a name that may be taken by an older object."""
    with suppress(FileNotFoundError):
        path.unlink()
    libbpf.pin(fd, str(path))


def _names(folder: Path) -> list[str]:
    """What is in a folder; nothing, if there is none."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _number(path: Path) -> int:
    matched = SET_NAME.fullmatch(path.name)
    return int(matched[1]) if matched else 0


def _filesystem(path: Path) -> int:
    """The magic number of the file system that holds a path: `f_type`, the first word of struct statfs."""
    result = (ctypes.c_long * 32)()
    call("statfs", os.fsencode(path), ctypes.byref(result), about=str(path))
    return int(result[0]) & 0xFFFF_FFFF
