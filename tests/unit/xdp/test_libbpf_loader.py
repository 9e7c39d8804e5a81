# SPDX-License-Identifier: Apache-2.0
"""Errors for a missing or damaged object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.xdp.libbpf_loader import LibbpfLoader

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    """The error says how to build the object."""
    with pytest.raises(
        UnavailableError, match=r"geodrop.*\.bpf\.o is not there; make install XDP=1, or in a checkout: make setup"
    ):
        LibbpfLoader(tmp_path).version()


def test_the_version_is_that_of_the_bytes(tmp_path: Path) -> None:
    """Another object has another version."""
    versions = set()
    for content in (b"one", b"two"):
        for name in ("geodrop.bpf.o", "geodrop_no_clock.bpf.o"):
            (tmp_path / name).write_bytes(content)
        versions.add(LibbpfLoader(tmp_path).version())
    assert len(versions) == 2
