# SPDX-License-Identifier: Apache-2.0
import errno
import os

import pytest

from geodrop.errors import ApplyError, UnavailableError
from geodrop.xdp.reading import reading


@reading
def read(number: int) -> str:
    """Return an answer, or fail with this error number."""
    if number:
        raise OSError(number, os.strerror(number))
    return "read"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EPERM, errno.ENOENT])
def test_what_the_system_refuses(number: int) -> None:
    """The error is UnavailableError (69), with the reason and a next step."""
    with pytest.raises(UnavailableError, match=os.strerror(number)) as caught:
        read(number)
    assert caught.value.next_step


def test_what_else_happens() -> None:
    """Answers and other errors pass unchanged."""

    @reading
    def fail() -> None:
        raise ApplyError("no")

    assert read(0) == "read"
    with pytest.raises(ApplyError, match="no"):
        fail()
