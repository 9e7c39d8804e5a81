# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import DataError
from geodrop.fleet import folder
from geodrop.fleet.folder import read_folder
from tests.support.fleets import fleet

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_for_each_host(tmp_path: Path) -> None:
    """What is not HOST.json is passed over; a name that is no text is read too."""
    fleet(tmp_path, {"edge-1": {}, "edge.example.com": {"unreachable": True}})
    for name in ("notes.txt", ".edge-9.json", "edge-2.json.tmp"):
        (tmp_path / name).write_text("x")
    os.rename(os.fsencode(tmp_path / "edge-1.json"), os.fsencode(tmp_path) + b"/edge-\xff.json")
    assert sorted(one.host for one in read_folder(str(tmp_path))) == ["edge-\udcff", "edge.example.com"]


@pytest.mark.parametrize(
    ("name", "told"), [("missing", "No such file"), ("file", "Not a directory"), ("empty", "has no file")]
)
def test_no_folder_of_a_fleet(tmp_path: Path, name: str, told: str) -> None:
    """The failure names the folder and what belongs there."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=told) as failure:
        read_folder(str(tmp_path / name))
    assert str(tmp_path / name) in failure.value.message
    assert "HOST.json" in failure.value.next_step


def test_a_folder_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of files is limited before the first one is read."""
    monkeypatch.setattr(folder, "MOST", 1)
    monkeypatch.delattr(folder, "read")
    with pytest.raises(DataError, match="has 2 files"):
        read_folder(str(fleet(tmp_path, {"one": {}, "two": {}})))
