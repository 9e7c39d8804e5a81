# SPDX-License-Identifier: Apache-2.0
"""Two clocks: learn at once when the machine's clock is set, and read the one that nobody can set.

timerfd_create(2), TFD_TIMER_CANCEL_ON_SET: a jump forward or back, a change of CLOCK_TAI's offset, and waking up after
a sleep all count; slewing does not.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import time

from geodrop.linux.event_descriptor import EventDescriptor
from geodrop.linux.libc import call

TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2
_NEVER = 1 << 33
"""Seconds since the epoch, in the 23rd century: the timer never expires, the kernel only cancels it."""


def monotonic() -> int:
    """Return nanoseconds of CLOCK_MONOTONIC as the kernel itself counts them: without the offset of a time namespace.

    BPF programs and timeouts of nf_tables go by it (time_namespaces(7)).
    """
    return time.monotonic_ns() - _offset()


@functools.cache
def _offset() -> int:
    """Return how far this process's time namespace is ahead, in nanoseconds."""
    try:
        with open("/proc/self/timens_offsets", encoding="ascii") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        return 0  # a kernel without time namespaces
    return next((int(line[1]) * 10**9 + int(line[2]) for line in lines if line[0] == "monotonic"), 0)


class ClockSteps(EventDescriptor):
    """Steps of CLOCK_REALTIME since this object was made. No method blocks."""

    def __init__(self) -> None:
        super().__init__(call("timerfd_create", time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC))
        # struct itimerspec: the interval (none), then the expiry; seconds and nanoseconds each.
        when = (ctypes.c_long * 4)(0, 0, _NEVER, 0)
        flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
        try:
            call("timerfd_settime", self._descriptor, flags, when, None)
        except OSError:
            self.close()
            raise

    def read(self) -> bool:
        """Return whether the clock was set since the last call."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
        return True
