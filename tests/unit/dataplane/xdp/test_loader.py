"""Size classes, what is named when the object is missing or is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane.xdp.loader import LibbpfLoader, Sizes
from geodrop.errors import UnavailableError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_size_class_has_room_and_holds_what_it_was_made_for() -> None:
    """Growing a little needs no new program."""
    need = Sizes(segments=6, elements=2, pairs=300)
    made = need.rounded()
    assert made == Sizes(8, 2, 1024)
    assert made.holds(need)
    assert made.holds(Sizes(8, 2, 1024))
    assert not made.holds(Sizes(9, 2, 1))


def test_memory_counts_every_cpu() -> None:
    """Tables, policy, and 64 bytes a counter pair and CPU."""
    one, two = (Sizes(8, 2, 1024).memory(cpus) for cpus in (1, 2))
    assert one == 8 * (4 << 20) + 2 * (256 << 10) + 1024 * 64
    assert two - one == 1024 * 64


def test_a_missing_object_is_named(tmp_path: Path) -> None:
    """With what builds it."""
    with pytest.raises(UnavailableError, match=r"geodrop.*\.bpf\.o is not there; build it with: make setup"):
        LibbpfLoader(tmp_path).version()


def test_the_version_is_that_of_the_bytes(tmp_path: Path) -> None:
    """Another object is another version."""
    versions = set()
    for content in (b"one", b"two"):
        for name in ("geodrop.bpf.o", "geodrop_no_clock.bpf.o"):
            (tmp_path / name).write_bytes(content)
        versions.add(LibbpfLoader(tmp_path).version())
    assert len(versions) == 2
