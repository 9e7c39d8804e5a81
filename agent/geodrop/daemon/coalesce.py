# SPDX-License-Identifier: Apache-2.0
"""Share runs: many callers ask, and each gets the result of a run that began after it asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Coalesced(Generic[T]):
    """Run `work` one at a time. Callers that ask during a run share the next one: this run may have read too early."""

    def __init__(self, work: Callable[[Callable[[str], None]], Awaitable[T]]) -> None:
        self._work = work
        self._running: _Round[T] | None = None
        self._next: _Round[T] | None = None

    async def ask(self, say: Callable[[str], None]) -> T:
        """Return the result of a run, or raise what it raised. `say` is told the phases. Cancelling this call does not
        end the run.
        """
        if self._next is None:
            self._next = _Round(self._begin)
        self._next.listeners.append(say)
        return await asyncio.shield(self._next.task)

    async def _begin(self, own: _Round[T]) -> T:
        if self._running:
            await asyncio.wait([self._running.task])
        self._running, self._next = own, None
        return await self._work(own.say)


class _Round(Generic[T]):
    """One run, begun or waiting for the one before it, and its listeners."""

    def __init__(self, begin: Callable[[_Round[T]], Awaitable[T]]) -> None:
        self.listeners: list[Callable[[str], None]] = []
        self.task = asyncio.ensure_future(begin(self))

    def say(self, phase: str) -> None:
        for listener in self.listeners:
            listener(phase)
