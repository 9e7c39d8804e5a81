# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: enter the one of a process, or run a probe in a new one that is gone afterwards."""

from __future__ import annotations

import ctypes
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geodrop.errors import GeodropError, PrivilegeError, UnavailableError
from geodrop.linux.libc import LIBC, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rows = list[list[str]]
    Answer = tuple[str, str | None, Rows]
    """The error ("" if none), the next step (None: not tried for lack of privilege), and the rows returned."""

CLONE_NEWNET = 0x4000_0000  # linux/sched.h


@contextmanager
def entered(pid: int) -> Iterator[None]:
    """Move the calling thread into the network namespace of a process for the `with` block.

    Sockets opened inside stay in that namespace. Raises OSError if there is no such process, or without CAP_SYS_ADMIN.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # os.setns came with Python 3.12.
            call("setns", inside, CLONE_NEWNET)
        finally:
            os.close(inside)
        try:
            yield
        finally:
            call("setns", before, CLONE_NEWNET)
    finally:
        os.close(before)


def in_new_namespace(probe: Callable[[], Rows | None]) -> Rows:
    """Run a probe in a child process in a new network namespace, and return the rows that the probe returns.

    Raises UnavailableError with the message of a GeodropError or OSError that the probe raised, and PrivilegeError if
    no namespace can be made.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        answer: Answer = ("the probe died", "", [])
        try:
            answer = _in_child(probe)
        finally:
            os.write(writer, json.dumps(answer).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read()
    os.waitpid(child, 0)
    message, next_step, returned = json.loads(text or '["the probe was killed", "", []]')
    if next_step is None:
        raise PrivilegeError(message, "run doctor as root to have it tried")
    if message:
        raise UnavailableError(message, next_step)
    rows: Rows = returned
    return rows


def _in_child(probe: Callable[[], Rows | None]) -> Answer:
    if LIBC.unshare(CLONE_NEWNET) != 0:
        return f"no network namespace to try it in ({os.strerror(ctypes.get_errno())})", None, []
    try:
        returned = probe()
    except GeodropError as error:
        return error.message, error.next_step, []
    except OSError as error:
        return error.strerror or str(error), "", []
    return "", "", returned or []
