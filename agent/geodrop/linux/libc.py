"""The C library, for system calls that Python has no function for.

Loaded once for the process: each CDLL makes types of several kilobytes, which only the garbage collector takes away.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def failure(what: str) -> OSError:
    """What the last call left in errno, as an OSError about `what`."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)


def call(name: str, *arguments: Any, about: str | None = None) -> int:  # noqa: ANN401 - whatever the C function takes
    """Call a function that returns a negative int when it fails; raises OSError about `about` (or its name)."""
    result = int(getattr(LIBC, name)(*arguments))
    if result < 0:
        raise failure(about or name)
    return result
