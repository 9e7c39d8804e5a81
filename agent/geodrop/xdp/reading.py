"""What the system refuses to a reader is told as that: a kernel that cannot be read just now is not an empty one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def reading(method: Callable[P, T]) -> Callable[P, T]:
    """Raise UnavailableError where descriptors or memory run out, or anything else keeps a reader from what is pinned.

    What is missing (ENOENT), as in a set that a killed load left, is for the method itself to pass over.
    """

    @functools.wraps(method)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except OSError as error:
            raise unreadable(error) from error

    return told


def unreadable(error: OSError) -> UnavailableError:
    """The failure to read what is pinned."""
    return UnavailableError(
        f"what xdp has in the kernel cannot be read just now ({error.strerror})",
        "try again; if it stays so, see the limits of this process (descriptors, memory)",
    )
