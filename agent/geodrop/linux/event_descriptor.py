# SPDX-License-Identifier: Apache-2.0
"""A descriptor by which the kernel tells of events: inotify(7), timerfd_create(2)."""

from __future__ import annotations

import os
from typing import Self


class EventDescriptor:
    """Owns a descriptor, and closes it with the `with` block. It is readable when there is an event to read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor, to wait for."""
        return self._descriptor
