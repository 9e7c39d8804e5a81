"""Try something in a network namespace of its own, which is gone afterwards: the machine's own is never touched."""

from __future__ import annotations

import ctypes
import json
import os
from typing import TYPE_CHECKING

from geodrop.errors import GeodropError, PrivilegeError, UnavailableError
from geodrop.linux.libc import LIBC

if TYPE_CHECKING:
    from collections.abc import Callable

    Rows = list[list[str]]
    Answer = tuple[str, str | None, Rows]
    """What is wrong (empty: nothing), the next step (None: not tried, for want of privilege), what was returned."""

CLONE_NEWNET = 0x4000_0000  # linux/sched.h


def in_new_namespace(probe: Callable[[], Rows | None]) -> Rows:
    """Run a probe in a child that has left this network namespace; the rows that it returns come back.

    Raises UnavailableError with what the probe raised as GeodropError or OSError, and PrivilegeError where no namespace
    can be made.
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
