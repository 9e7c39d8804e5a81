# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import ApplyError
from geodrop.linux.owner import adopt
from geodrop.state import files

if TYPE_CHECKING:
    from pathlib import Path

OTHER_USER = 65_534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state directory that another user owns."""
    os.chown(tmp_path, OTHER_USER, OTHER_USER)
    return tmp_path


def test_what_root_writes_belongs_to_the_folders_owner(folder: Path) -> None:
    """New folders, replaced files, and files that are appended to belong to the folder's owner."""
    files.replace(folder / "new" / "replaced", lambda file: file.write(b"1"))
    files.append(folder / "new" / "appended", b"1")
    found = [folder / "new", folder / "new" / "replaced", folder / "new" / "appended"]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in found} == {(OTHER_USER, OTHER_USER)}


def test_a_link_is_given_away_and_not_what_it_leads_to(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The owner of the folder cannot make root give them a file from elsewhere."""
    target = tmp_path_factory.mktemp("roots") / "file"
    target.touch()
    link = folder / "link"
    link.symlink_to(target)
    adopt(link, folder)
    assert (link.lstat().st_uid, target.stat().st_uid) == (OTHER_USER, 0)


def test_root_writes_through_no_link(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The owner of the folder cannot make root write elsewhere."""
    target = tmp_path_factory.mktemp("roots") / "file"
    target.write_bytes(b"old")
    (folder / "history").symlink_to(target)
    with pytest.raises(ApplyError, match="history"):
        files.append(folder / "history", b"new")
    assert target.read_bytes() == b"old"


def test_root_works_in_no_folder_that_a_link_leads_to(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Root neither writes, nor appends, nor removes leftovers of a crash outside the folder."""
    elsewhere = tmp_path_factory.mktemp("roots")
    (elsewhere / f"{files.BESIDE}1").touch()
    (folder / "rulesets").symlink_to(elsewhere)
    os.chown(folder / "rulesets", OTHER_USER, OTHER_USER, follow_symlinks=False)
    with pytest.raises(ApplyError, match="rulesets"):
        files.replace(folder / "rulesets" / "file", lambda file: file.write(b"1"))
    with pytest.raises(ApplyError, match="rulesets"):
        files.append(folder / "rulesets" / "file", b"1")
    with pytest.raises(OSError, match="Not a directory"):
        files.sweep(folder / "rulesets")
    assert [path.name for path in elsewhere.iterdir()] == [f"{files.BESIDE}1"]
