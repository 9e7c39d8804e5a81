# SPDX-License-Identifier: Apache-2.0
"""Learn from the kernel at once when a name in a folder comes or goes: inotify(7), which works on a bpffs too."""

from __future__ import annotations

import os

from geodrop.linux.event_descriptor import EventDescriptor
from geodrop.linux.libc import call

IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400
_COME_AND_GO = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF
_RECEIVE = 64 << 10


class Inotify(EventDescriptor):
    """Names that come and go in the watched folders. A removed folder is no longer watched. No method blocks."""

    def __init__(self) -> None:
        super().__init__(call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, folder: str | os.PathLike[str]) -> bool:
        """Watch a folder and return True, or False if it does not exist. Raises OSError.

        Adding a watched folder again has no effect.
        """
        name = os.fspath(folder)
        try:
            call("inotify_add_watch", self._descriptor, os.fsencode(folder), _COME_AND_GO, about=name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def read(self) -> bool:
        """Return whether something happened since the last call, or may have: a queue overflow counts."""
        happened = False
        while True:
            try:
                happened = bool(os.read(self._descriptor, _RECEIVE)) or happened
            except BlockingIOError:
                return happened
