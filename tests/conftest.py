# SPDX-License-Identifier: Apache-2.0
"""Settings for every test run, whatever starts it."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from tests.support.bpffs import without_bpffs

# A shell starts background jobs with SIGINT ignored, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests use the same examples every time in CI, and have no deadline: the machine may be busy.
settings.register_profile("geodrop", deadline=None, derandomize=os.environ.get("CI") == "true", print_blob=True)
settings.load_profile("geodrop")


@pytest.fixture(scope="session", autouse=True)
def _mounts() -> None:
    """Hide the host's bpffs, if it has one: a test that needs a bpffs for xdp mounts its own."""
    if os.geteuid() == 0:
        without_bpffs()
