"""How tests run, wherever they are started from."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from tests.support.bpffs import without_bpffs

# What a shell starts in the background ignores SIGINT, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests: the same examples every time in CI, and never against the clock of a busy machine.
settings.register_profile("geodrop", deadline=None, derandomize=os.environ.get("CI") == "true", print_blob=True)
settings.load_profile("geodrop")


@pytest.fixture(scope="session", autouse=True)
def _mounts() -> None:
    """A host with systemd has a bpffs and this one may have none: tests see none, and bring their own to mean xdp."""
    if os.geteuid() == 0:
        without_bpffs()
