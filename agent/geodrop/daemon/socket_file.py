"""Unix sockets under a name: in the place of one that a dead daemon left, and for a group alone.

Root may do this in a folder of the daemon's user. So nothing is given a mode or a group by its name, which may stand
for something else by then, and what is no dead socket is never removed.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

MODE = 0o660


def bind(path: str, group: int | None = None) -> socket.socket:
    """A socket under this name, readable and writable for its group (`group`, if it is given), and for nobody else.

    Raises OSError: EADDRINUSE where somebody answers there, ENOTSOCK where something else has the name, EPERM where it
    may not be given to that group.
    """
    _remove_dead(path)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Nobody can connect before listen(2).
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
            pass  # somebody who has as many connections waiting as he takes
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
    raise OSError(errno.EADDRINUSE, "somebody answers there already", path)


def _give(path: str, group: int | None) -> None:
    """Set mode and group of the socket, by a descriptor of what was looked at."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.EEXIST, "somebody put something else in its place", path)
        os.chmod(f"/proc/self/fd/{descriptor}", MODE)
        if group is not None and found.st_gid != group:
            os.chown(f"/proc/self/fd/{descriptor}", -1, group)
    finally:
        os.close(descriptor)
