# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

from geodrop.linux.inotify import Inotify


def test_names_that_come_and_go(tmp_path: Path) -> None:
    """A file that is made, renamed or removed is noticed; a write to a file is not. A folder may be added again."""
    with Inotify() as inotify:
        assert inotify.add(tmp_path)
        assert inotify.add(tmp_path)
        assert not inotify.read()
        file = tmp_path / "one"
        file.touch()
        assert inotify.read()
        assert not inotify.read()
        file.write_text("content")
        assert not inotify.read()
        file = file.rename(tmp_path / "two")
        assert inotify.read()
        file.unlink()
        assert inotify.read()


def test_a_folder_that_goes(tmp_path: Path) -> None:
    """The removal of a folder is noticed; afterwards it is gone, and a new folder in its place has to be added."""
    folder = tmp_path / "folder"
    with Inotify() as inotify:
        assert not inotify.add(folder)
        folder.mkdir()
        assert inotify.add(folder)
        folder.rmdir()
        assert inotify.read()
        assert not inotify.add(folder)
