# SPDX-License-Identifier: Apache-2.0
"""Two clocks. No test sets the machine's own clock: the timer's settings are read back from the kernel."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geodrop.linux.clock import ClockSteps, monotonic


def test_the_kernel_is_asked_to_tell() -> None:
    """The timer uses CLOCK_REALTIME, is cancelled when that is set, and does not expire."""
    with ClockSteps() as steps:
        told = dict(
            line.split(":", 1)
            for line in Path(f"/proc/self/fdinfo/{steps.fileno()}").read_text().splitlines()
            if ":" in line
        )
        assert int(told["clockid"]) == time.CLOCK_REALTIME
        assert int(told["settime flags"], 8) == 0b11  # absolute, cancelled when the clock is set
        seconds = int(told["it_value"].strip(" ()").split(",")[0])
        assert seconds > 100 * 365 * 86_400
        assert not os.get_inheritable(steps.fileno())


def test_nothing_is_told_of_a_clock_that_goes_on() -> None:
    """Without a step the descriptor is not readable, and read() returns False at once."""
    with ClockSteps() as steps:
        assert not select.select([steps], [], [], 0)[0]
        assert steps.read() is False


def test_a_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """ECANCELED counts as one step; any other error is raised."""
    answers = iter([OSError(errno.ECANCELED, "cancelled"), BlockingIOError(), OSError(errno.EBADF, "closed")])

    def answer(*_: object) -> bytes:
        raise next(answers)

    with ClockSteps() as steps, monkeypatch.context() as patch:
        patch.setattr(os, "read", answer)
        assert steps.read() is True
        assert steps.read() is False
        with pytest.raises(OSError, match="closed"):
            steps.read()


def test_a_time_namespace_does_not_matter() -> None:
    """The kernel's own clock is read inside a namespace whose CLOCK_MONOTONIC is a thousand seconds ahead."""
    code = "import time; from geodrop.linux.clock import monotonic; print(monotonic(), time.monotonic_ns())"
    began = monotonic()
    said = subprocess.run(
        ["unshare", "--time", "--monotonic", "1000", "--fork", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode and os.geteuid():
        pytest.skip("time namespaces need root")
    real, shown = map(int, said.stdout.split())
    assert began <= real <= monotonic()
    assert shown - real > 999 * 10**9
