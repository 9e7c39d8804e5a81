"""Learn from the kernel at once when the machine's clock is set: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET.

A jump forward or back, a change of CLOCK_TAI's offset, and waking up after a sleep all count; slewing does not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time

from geodrop.linux.event_descriptor import EventDescriptor
from geodrop.linux.libc import call

TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2
_NEVER = 1 << 33
"""Seconds since the epoch, in the 23rd century: the timer never expires, the kernel only cancels it."""


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
