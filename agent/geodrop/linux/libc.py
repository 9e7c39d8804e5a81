# SPDX-License-Identifier: Apache-2.0
"""The C library, for system calls that Python has no function for.

Loaded once for the process: each CDLL makes types of several kilobytes, which only the garbage collector frees.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def failure(what: str) -> OSError:
    """Return the errno of the last call as an OSError; `what` is its file name."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)


def call(name: str, *arguments: Any, about: str | None = None) -> int:  # noqa: ANN401 - whatever the C function takes
    """Call a C function that returns a negative int on failure, and return its result.

    Raises OSError; its file name is `about`, or else the function's name.
    """
    result = int(getattr(LIBC, name)(*arguments))
    if result < 0:
        raise failure(about or name)
    return result
