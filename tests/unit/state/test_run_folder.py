# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.state import run_folder

if TYPE_CHECKING:
    from pathlib import Path

STRANGER = 12_345


def test_a_missing_folder_is_made_for_everybody_to_look_into(tmp_path: Path) -> None:
    """A new folder has mode 0755, whatever the umask."""
    before = os.umask(0o077)
    try:
        with run_folder.entered(str(tmp_path / "a" / "b")) as folder:
            assert os.path.samestat(os.fstat(folder), (tmp_path / "a" / "b").stat())
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755


@pytest.mark.root
def test_what_root_makes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    """Files made by root belong to the folder's owner, so that the daemon, which runs as that user, can use them."""
    os.chown(tmp_path, STRANGER, STRANGER)
    with run_folder.entered(str(tmp_path / "a" / "b")) as folder:
        run_folder.replace(str(tmp_path / "a" / "b" / "file"), b"content", folder, 0o644)
    for path in tmp_path.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (STRANGER, STRANGER)


@pytest.mark.root
def test_links_are_followed_only_if_they_are_roots(tmp_path: Path) -> None:
    """The owner of the folder cannot make root create files elsewhere by a link."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with run_folder.entered(str(tmp_path / "link" / "below")):
        assert (tmp_path / "elsewhere" / "below").is_dir()
    os.chown(tmp_path / "link", STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(UnavailableError), run_folder.entered(str(tmp_path / "link" / "other")):
        pytest.fail("entered")
    assert not (tmp_path / "elsewhere" / "other").exists()


def test_a_file_has_the_folders_place(tmp_path: Path) -> None:
    """The error names the folder in whose place the file is."""
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=str(tmp_path / "file")), run_folder.entered(str(tmp_path / "file")):
        pytest.fail("entered")


def test_replace_replaces_whatever_has_the_name(tmp_path: Path) -> None:
    """A link is replaced, not written through, and no other file is left."""
    (tmp_path / "precious").write_text("precious")
    for name in ("file", "file.new"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    with run_folder.entered(str(tmp_path)) as folder:
        run_folder.replace(str(tmp_path / "file"), b"content", folder, 0o640)
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "file").read_text() == "content"
    assert {path.name for path in tmp_path.iterdir()} == {"precious", "file"}
