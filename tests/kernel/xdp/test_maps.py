# SPDX-License-Identifier: Apache-2.0
"""The maps of a program: their sizes, and that they are pinned under the names that the program uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.linux import libbpf
from geodrop.xdp import layout
from geodrop.xdp.loader import MAPS, Sizes
from geodrop.xdp.maps import pinned_maps
from tests.support.bpffs import own_pins
from tests.support.namespaces import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield an empty folder for a set."""
    require()
    with own_pins() as pins:
        pins.make()
        yield pins.new_set("0")


def test_maps_are_as_large_as_asked(folder: Path) -> None:
    """Maps are pinned by name and open; the maps of maps accept only inner maps of the requested size."""
    sizes = Sizes(segments=4, elements=2, pairs=3)
    with pinned_maps(folder, sizes) as maps:
        assert set(maps) == set(MAPS) == {path.name for path in folder.iterdir()}
        info = {name: libbpf.map_info(fd) for name, fd in maps.items()}
        assert info["counters"].max_entries == 3 * 4
        assert info["control"].map_flags & libbpf.MMAPABLE
        for name, size, entries in (
            ("tables", layout.SEGMENT_BYTES, 4),
            ("policies", layout.POLICY_BYTES, 2),
        ):
            libbpf.write_element(maps[name], 0, libbpf.create_array("right", size, entries).to_bytes(4, "little"))
            wrong = libbpf.create_array("wrong", size, entries + 1)
            with pytest.raises(OSError, match="bpf_map_update_elem"):
                libbpf.write_element(maps[name], 1, wrong.to_bytes(4, "little"))
