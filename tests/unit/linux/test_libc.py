# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os

import pytest

from geodrop.linux.libc import call


def test_results_are_returned() -> None:
    """A result that is no failure is returned."""
    assert call("getpid") == os.getpid()


def test_failures_are_errors_of_the_system() -> None:
    """The error has errno, its text, and the name of the function or the one that the caller gives."""
    with pytest.raises(FileNotFoundError) as missing:
        call("access", b"/nonexistent", 0, about="/nonexistent")
    assert missing.value.filename == "/nonexistent"
    with pytest.raises(OSError, match="close") as closed:
        call("close", -1)
    assert closed.value.errno == errno.EBADF
