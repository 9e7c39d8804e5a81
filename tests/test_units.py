# SPDX-License-Identifier: Apache-2.0
"""Every systemd unit of ours has limits, so that a fault in one does not harm the rest of the host."""

from __future__ import annotations

from pathlib import Path

import pytest

UNITS = Path(__file__).parents[1] / "systemd"
BOUNDS = ("MemoryMax", "TasksMax", "LimitNOFILE", "NoNewPrivileges", "SystemCallFilter", "RestrictAddressFamilies")


def directives(name: str) -> dict[str, str]:
    """Return the settings of a unit file, the last value of each key."""
    lines = (UNITS / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.glob("*.service")))
def test_every_service_is_bounded(name: str) -> None:
    """Memory, tasks, descriptors and system calls are limited; a new unit must limit them too."""
    assert set(BOUNDS) <= directives(name).keys()


@pytest.mark.parametrize(
    "path", [path for path in sorted(UNITS.rglob("*.*")) if path.is_file()], ids=lambda path: path.name
)
def test_a_limit_is_set_once(path: Path) -> None:
    """Of two, systemd silently takes the last, and a reader may believe the first."""
    keys = [line.split("=")[0] for line in path.read_text().splitlines() if line[:1].isupper() and "=" in line]
    single = [key for key in keys if key.startswith("Limit") or key.endswith(("Max", "Sec", "Mode"))]
    assert len(single) == len(set(single))


def test_limits_never_slow_down_the_break_glass() -> None:
    """No unit sets MemoryHigh=, which would slow a process down without end; a killed process is started again."""
    daemon = directives("geodrop.service")
    assert "MemoryHigh" not in daemon
    assert daemon["Restart"] == "always"


def test_a_compile_ends() -> None:
    """A compile job ends within half an hour, and until then other jobs can run beside it."""
    assert directives("geodrop-compile@.service")["RuntimeMaxSec"] == "30min"
    assert int(directives("geodrop-compile.socket")["MaxConnections"]) > 4
