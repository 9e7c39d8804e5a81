"""Where state, sockets and locks live: apart for each network namespace, since each has a dataplane of its own.

In the machine's own namespace (that of PID 1) they are in the usual folders; in any other one in a folder named by the
namespace's inode, so that tests, demos and a live daemon on one machine never meet.
"""

from __future__ import annotations

import os
from pathlib import Path

STATE = Path("/var/lib/geodrop")
RUN = Path("/run/geodrop")


def default_state() -> Path:
    """The state directory of this network namespace."""
    return _apart(STATE)


def default_socket() -> Path:
    """The control socket of this network namespace."""
    return _apart(RUN) / "control.sock"


def lock_file() -> Path:
    """The lock that whoever changes this namespace's dataplane holds, whatever agent.yaml says of other places."""
    return _apart(RUN) / "lock"


def _apart(folder: Path) -> Path:
    own = os.stat("/proc/thread-self/ns/net")
    try:
        machine = os.stat("/proc/1/ns/net")
    except PermissionError:
        # Only root may ask about PID 1. Whoever else asks changes nothing, and will be told where root looks.
        return folder
    if (own.st_dev, own.st_ino) == (machine.st_dev, machine.st_ino):
        return folder
    return folder / "netns" / str(own.st_ino)
