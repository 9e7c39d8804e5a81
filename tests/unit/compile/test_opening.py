import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from geodrop.compile.opening import open_beneath, open_database, open_policy
from geodrop.errors import ConfigError, DataError, PrivilegeError
from geodrop.state.service_user import ServiceUser


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


def test_a_right_that_is_missing(folder: int, tmp_path: Path) -> None:
    """Whatever the file is: it is 77 and names whose right, and is of the kind that its callers know."""
    nobody = pwd.getpwnam("nobody")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "policy" / "lists" / "a.txt").chmod(0o600)
    secret = str(tmp_path / "secret")
    with ServiceUser("nobody", nobody.pw_uid, nobody.pw_gid, ()).acting():
        with pytest.raises(ConfigError, match="secret: user nobody may not read it") as policy:
            open_policy(secret)
        with pytest.raises(DataError, match="secret: user nobody may not read it") as database:
            open_database(secret)
        with pytest.raises(PrivilegeError, match="user nobody may not read it") as listed:
            open_beneath(folder, "lists/a.txt")
    assert {failure.value.exit_code for failure in (policy, database, listed)} == {77}
