# SPDX-License-Identifier: Apache-2.0
"""Shared by the two processes that hold a namespace: prepare it, report that it is ready, end when stdin closes."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from geodrop.state.places import lock_file

IPV6 = Path("/proc/sys/net/ipv6/conf")


def allow_ipv6() -> None:
    """Enable IPv6: a new namespace may inherit `disable_ipv6` from a host without IPv6, and the demo uses IPv6."""
    for scope in ("all", "default"):
        switch = IPV6 / scope / "disable_ipv6"
        if switch.exists() and switch.read_text().strip() != "0":
            switch.write_text("0")


def say_ready() -> None:
    """Tell the demo that this process is ready, and where the verbs keep their lock for this namespace."""
    say({"lock": str(lock_file())})


def say(message: dict[str, object]) -> None:
    """Write one JSON object on a line to the demo. If the demo is gone, end this process."""
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        os._exit(0)


def end_with_the_demo() -> None:
    """From now on, end this process as soon as the demo closes our standard input or dies."""
    threading.Thread(target=_end_at_end_of_input, daemon=True).start()


def _end_at_end_of_input() -> None:
    while sys.stdin.readline():
        pass
    os._exit(0)
