"""One compile child ahead of its job, so that a reload does not wait for imports and databases."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from geodrop.compile.sandbox import TIMEOUT, Child
from geodrop.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geodrop.compile.sandbox import Answer, Job


class Waiting:
    """Does jobs one after the other, each in a child of its own; not for two threads at once.

    `start` makes a child: `Child.start`, or one that connects to the unit's socket.
    """

    def __init__(self, start: Callable[[], Child] = Child.start) -> None:
        self._start = start
        self._child: Child | None = None

    def prepare(self, databases: Sequence[str] = (), previous: int | None = None) -> None:
        """Have a child wait that reads these ahead, if any; to be called when there is nothing else to do.

        Comes back at once. Raises UnavailableError if there is no child to be had; a database that cannot be opened
        is left to the job.
        """
        self.close()
        self._child = self._start()
        if databases:
            with suppress(DataError):
                self._child.prepare(databases, previous)

    def run(self, job: Job, timeout: float = TIMEOUT) -> Answer:
        """Do a job: in the child that waits, if all it has read is this job's databases as they are, else in a new one.

        Raises as `Child.run`, and UnavailableError if there is no child to be had.
        """
        child, self._child = self._child, None
        if child is not None and not child.is_fit(job.databases):
            child.close()
            child = None
        with child or self._start() as child:
            return child.run(job, timeout=timeout)

    def close(self) -> None:
        """End the child that waits."""
        if self._child is not None:
            self._child.close()
            self._child = None
