import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from geodrop.compile.sandbox import open_beneath


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A policy's folder, with a secret beside it, as a descriptor."""
    inside = tmp_path / "policy"
    (inside / "lists").mkdir(parents=True)
    (inside / "lists" / "a.txt").write_text("1.2.3.4\n")
    (tmp_path / "secret").write_text("secret")
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "out").symlink_to(tmp_path)
    descriptor = os.open(inside, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_file_inside_is_opened(folder: int) -> None:
    """A list file in a folder below the policy's is found."""
    descriptor = open_beneath(folder, "lists/a.txt")
    with open(descriptor) as file:
        assert file.read() == "1.2.3.4\n"


@pytest.mark.parametrize(
    "name", ["../secret", "lists/../../secret", "/etc/passwd", "link", "out/secret", ".", "", "lists//a.txt", "lists/"]
)
def test_no_name_leads_outside(folder: int, name: str) -> None:
    """Root opens nothing outside the policy's folder, whatever the child asks for."""
    with pytest.raises((OSError, ValueError)):
        open_beneath(folder, name)
