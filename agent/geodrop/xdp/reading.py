# SPDX-License-Identifier: Apache-2.0
"""Report what the system refuses to a reader: a kernel that cannot be read just now is not an empty one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def reading(method: Callable[P, T]) -> Callable[P, T]:
    """Raise UnavailableError if a method cannot read what is pinned, for lack of descriptors, memory or other reasons.

    The method itself handles missing pins (ENOENT), as in a set that a killed load left.
    """

    @functools.wraps(method)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except OSError as error:
            raise unreadable(error) from error

    return told


def unreadable(error: OSError) -> UnavailableError:
    """Return the error for a failure to read what is pinned."""
    return UnavailableError(
        f"what xdp has in the kernel cannot be read just now ({error.strerror})",
        "try again; if it stays so, see the limits of this process (descriptors, memory)",
    )
