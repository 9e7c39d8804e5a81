# SPDX-License-Identifier: Apache-2.0
"""Statuses of many hosts, as `geodrop status --json` prints them; tests/kernel/cli/test_fleet.py has real ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATUS: dict[str, Any] = {
    "schema": 2,
    "version": "1.0.0",
    "state": "enforcing",
    "healthy": True,
    "problems": [],
    "observed": {
        "time": "2026-01-02T15:00:00Z",
        "probes": [{"verdict": "drop", "expected": "drop"}, {"verdict": "accept", "expected": "accept"}],
    },
    "generation": 42,
    "digest": "9a" * 32,
    "engine": "auto",
    "interfaces": [{"name": "eth0", "engine": "xdp", "attach": "native", "links": ["eth0"]}],
    "databases": [{"name": "country.mmdb", "built": 1_760_000_000}],
    "drift": 0,
    "repaired": 0,
    "dropped": {"packets": 1_200, "seconds": 60},
    "last_failure": None,
    "confirm": None,
}
"""The keys that are read, of a host that is well."""


def fleet(folder: Path, hosts: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a file for each host: a good status with what is given in its place; return the folder."""
    for name, change in hosts.items():
        value = change if "unreachable" in change or "error" in change else STATUS | dict(change)
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder
