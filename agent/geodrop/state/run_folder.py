# SPDX-License-Identifier: Apache-2.0
"""Files in the folder under /run, which belongs to the daemon's user, and which root writes into too.

An attacker with that user's rights must not lead root elsewhere: a link is followed only if it belongs to root or to
the calling user, and only a plain file with a single name is opened.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.linux.owner import adopt

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: opening a FIFO must not wait for a process at its other end."""


@contextmanager
def entered(path: str) -> Iterator[int]:
    """Yield a descriptor of a folder; a missing folder is made with mode 0755.

    Raises PrivilegeError, and UnavailableError if something else is in its place.
    """
    descriptor = os.open("/", os.O_PATH | _FOLDER)
    try:
        try:
            for name in filter(None, path.split("/")):
                above, descriptor = descriptor, _below(descriptor, name)
                os.close(above)
        except PermissionError as error:
            raise PrivilegeError(f"{path}: {error.strerror}", "run as root") from error
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}", "remove what has the place of that folder") from error
        yield descriptor
    finally:
        os.close(descriptor)


def opened(path: str, flags: int, folder: int | None = None, *, mode: int = 0o600) -> int:
    """Return a descriptor of a plain file in the entered `folder`. A new file gets `mode` and the folder's owner.

    Raises FileNotFoundError, FileExistsError, PermissionError, and UnavailableError if something else has its name.
    """
    name = path if folder is None else os.path.basename(path)
    try:
        descriptor = os.open(name, flags | _PLAIN, 0o600, dir_fd=folder)
    except (FileNotFoundError, FileExistsError, PermissionError):
        raise
    except OSError as error:
        # A link, a folder, a socket, or a FIFO without a reader.
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:
            raise _other(path) from error
        raise UnavailableError(f"{path}: {error.strerror}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise _other(path)
    if folder is not None and flags & os.O_EXCL:
        os.fchmod(descriptor, mode)  # whatever the umask is
        adopt(descriptor, folder)
    return descriptor


def replace(path: str, content: bytes, folder: int, mode: int) -> None:
    """Replace the file of this name by a new one with this content. Raises as `remove`."""
    beside = f"{path}.new"
    remove(beside, folder)
    descriptor = opened(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, folder, mode=mode)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)
    os.replace(os.path.basename(beside), os.path.basename(path), src_dir_fd=folder, dst_dir_fd=folder)


def remove(path: str, folder: int) -> None:
    """Remove a name, if it exists. Raises OSError, and UnavailableError if it is a folder."""
    try:
        os.unlink(os.path.basename(path), dir_fd=folder)
    except FileNotFoundError:
        return
    except IsADirectoryError as error:
        raise _other(path) from error


def is_named(descriptor: int, path: str, folder: int) -> bool:
    """Return whether a descriptor belongs to the file that has this name now. Raises OSError."""
    with suppress(FileNotFoundError):
        return os.path.samestat(
            os.fstat(descriptor), os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)
        )
    return False


def _below(above: int, name: str) -> int:
    try:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | _FOLDER, dir_fd=above)
    except NotADirectoryError:
        # With O_NOFOLLOW a link is not a folder. The target is read from the same link whose owner is checked.
        link = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        try:
            if os.fstat(link).st_uid not in {0, os.geteuid()}:
                raise
            target = os.readlink("", dir_fd=link)
        finally:
            os.close(link)
        return os.open(target, os.O_PATH | _FOLDER, dir_fd=above)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=above)
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | _FOLDER, dir_fd=above)
    try:
        os.fchmod(descriptor, 0o755)
        adopt(descriptor, above)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _other(path: str) -> UnavailableError:
    return UnavailableError(f"{path}: is no plain file", "something else is in its place: remove it")
