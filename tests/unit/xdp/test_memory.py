# SPDX-License-Identifier: Apache-2.0
"""The memory that a machine has left for tables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.xdp import memory
from geodrop.xdp.loader import Sizes

if TYPE_CHECKING:
    from pathlib import Path

MEMINFO = "MemTotal:       16000000 kB\nMemFree:           60000 kB\nMemAvailable:    8000000 kB\n"


def test_a_full_page_cache_is_no_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's estimate of available memory counts, not the free memory, nor the memory of this machine."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    assert memory.available() == 8_000_000 << 10
    memory.check(Sizes(800, 2, 1024))
    (tmp_path / "meminfo").write_text(MEMINFO.replace("8000000", "60000"))
    with pytest.raises(UnavailableError, match="61 MB are available"):
        memory.check(Sizes(800, 2, 1024))


@pytest.mark.parametrize("content", [None, "MemTotal: 1 kB\n"])
def test_without_the_kernels_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    """Without the estimate, free memory counts."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    if content:
        (tmp_path / "meminfo").write_text(content)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_AVPHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}[name])
    assert memory.available() == 40_960
