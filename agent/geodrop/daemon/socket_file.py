# SPDX-License-Identifier: Apache-2.0
"""Bind Unix sockets to a path: replace the socket of a dead daemon, and give it to one group only.

Root may do this in a folder of the daemon's user. So mode and group are never set by name, because the name may lead to
something else by then, and nothing but a dead socket is ever removed.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

MODE = 0o660


def bind(path: str, group: int | None = None) -> socket.socket:
    """Return a socket bound to this path that only its owner and its group (`group`, if given) can use.

    Raises OSError: EADDRINUSE if another process answers there, ENOTSOCK if the path is not a socket, EPERM if the
    socket may not be given to that group.
    """
    _remove_dead(path)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # No client can connect before listen(2).
        channel.bind(path)
        _give(path, group)
    except BaseException:
        channel.close()
        raise
    return channel


def _remove_dead(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.ENOTSOCK, "is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(path)
        except BlockingIOError:
            pass  # a server whose queue of connections is full
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
    raise OSError(errno.EADDRINUSE, "another process answers there already", path)


def _give(path: str, group: int | None) -> None:
    """Set mode and group of the socket through a descriptor of the file that was checked."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.EEXIST, "another program put something else in its place", path)
        os.chmod(f"/proc/self/fd/{descriptor}", MODE)
        if group is not None and found.st_gid != group:
            os.chown(f"/proc/self/fd/{descriptor}", -1, group)
    finally:
        os.close(descriptor)
