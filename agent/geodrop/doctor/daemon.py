# SPDX-License-Identifier: Apache-2.0
"""The capabilities of the running daemon, which differ from those of the user who runs doctor."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from geodrop.doctor.finding import MISSING, OK, Finding
from geodrop.linux import capabilities

if TYPE_CHECKING:
    from collections.abc import Iterator

UCRED = struct.Struct("=iII")  # struct ucred in unix(7): pid, uid, gid


def findings(control: str) -> Iterator[Finding]:
    """Yield the capabilities of the daemon that listens on this socket, and each engine that it cannot use.

    Yields nothing if no daemon listens, or this user may not connect or may not read its capabilities.
    """
    pid = _listener(control)
    if pid is None:
        return
    try:
        rights = capabilities.effective(str(pid))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return  # The process has just ended, or /proc hides it.
    has = " ".join(sorted(rights)) or "none of the capabilities that engines need"
    yield Finding("daemon", OK, f"process {pid} has {has}")
    for engine, needed, step in (
        ("nftables", capabilities.NFTABLES, "give its unit AmbientCapabilities=CAP_NET_ADMIN"),
        ("xdp", capabilities.XDP, "to have it: make install XDP=1"),
    ):
        if lacking := [name for name in needed if name not in rights]:
            found = f"not installed ({', '.join(lacking)} missing)"
            yield Finding(f"{engine}: daemon", MISSING, found, f"the daemon cannot use {engine}", step, (engine,))


def _listener(control: str) -> int | None:
    """Return the id of the process that listens on a socket, as the kernel reports it; None if there is none."""
    if not control:
        return None
    unanswered = FileNotFoundError, NotADirectoryError, ConnectionRefusedError, PermissionError, BlockingIOError
    with suppress(*unanswered), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(0.0)
        channel.connect(control)
        pid: int = UCRED.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))[0]
        return pid or None
    return None
