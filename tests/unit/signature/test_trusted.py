# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from geodrop.errors import ConfigError
from geodrop.signature.trusted import MAX_KEYS, TrustedKeys


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a file that only root can change."""
    path = tmp_path / "keys" / "allowed_signers"
    path.parent.mkdir(mode=0o755)
    path.write_text("alice ssh-ed25519 AAAA\n")
    path.chmod(0o640)
    return path


def test_read(keys: Path) -> None:
    """Both files are read as they are; a link to a file is followed."""
    revoked = keys.with_name("revoked")
    revoked.symlink_to(keys)
    found = TrustedKeys.read(str(keys), str(revoked))
    assert found == TrustedKeys(str(keys), keys.read_bytes(), keys.read_bytes(), str(revoked))
    assert TrustedKeys.read(str(keys), None).revoked is None


@pytest.mark.parametrize(("owner", "mode"), [(1, 0o644), (0, 0o664), (0, 0o646)])
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_others_can_change_is_not_trusted(keys: Path, which: str, owner: int, mode: int) -> None:
    """A user who can write the file, or replace it in its folder, would decide which keys this host trusts."""
    path = keys if which == "file" else keys.parent
    os.chown(path, owner, -1)
    path.chmod(mode | 0o111 if which == "folder" else mode)
    with pytest.raises(ConfigError, match="others than root can change it") as caught:
        TrustedKeys.read(str(keys), None)
    own = f"chown {'root:geodrop' if which == 'file' else '-h root'} {path}"
    assert caught.value.next_step == (f"{own}; chmod go-w {path}" if mode & 0o022 else own)
    assert caught.value.exit_code == 78


def test_the_folder_of_what_a_link_leads_to_counts(keys: Path, tmp_path: Path) -> None:
    """A link in a safe folder to a file in an open one is as open as that."""
    link = tmp_path / "link"
    link.symlink_to(keys)
    keys.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="others than root"):
        TrustedKeys.read(str(link), None)


def test_the_sticky_bit_protects_no_file(keys: Path) -> None:
    """In a folder it keeps others from replacing files of root; it keeps nobody from writing into a file."""
    keys.chmod(0o1666)
    with pytest.raises(ConfigError, match="others than root"):
        TrustedKeys.read(str(keys), None)
    keys.chmod(0o640)
    keys.parent.chmod(0o1777)
    assert TrustedKeys.read(str(keys), None).allowed


@pytest.mark.parametrize(
    "leads", ["{0}/theirs/link", "{0}/theirs/../theirs/link", "{0}/first", "{0}/theirs/folder/keys"]
)
def test_who_can_lead_the_way_elsewhere(keys: Path, tmp_path: Path, leads: str) -> None:
    """A user who can replace a link or a folder on the way would choose among the files of root.

    One such file may hold a line of that user: the name of an account in /etc/passwd is theirs to write.
    """
    theirs = tmp_path / "theirs"
    (theirs / "folder").mkdir(parents=True)
    (theirs / "link").symlink_to(keys)
    (tmp_path / "first").symlink_to("theirs/link")
    (theirs / "folder" / "keys").write_bytes(keys.read_bytes())
    path = leads.format(tmp_path)
    assert TrustedKeys.read(path, None).allowed == keys.read_bytes()
    os.chown(theirs, 1, 1)
    with pytest.raises(ConfigError, match=f"{theirs}: others than root can change it"):
        TrustedKeys.read(path, None)


def test_a_link_of_another_user(keys: Path, tmp_path: Path) -> None:
    """Where everybody may add files, a link counts only if it is root's."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(keys)
    assert TrustedKeys.read(str(shared / "link"), None).allowed
    os.chown(shared / "link", 1, 1, follow_symlinks=False)
    with pytest.raises(ConfigError, match="link: others than root"):
        TrustedKeys.read(str(shared / "link"), None)


def test_a_link_to_itself(keys: Path) -> None:
    """It ends as an error, and not never."""
    keys.unlink()
    keys.symlink_to(keys)
    with pytest.raises(ConfigError, match="symbolic links"):
        TrustedKeys.read(str(keys), None)


def test_missing_or_too_long(keys: Path) -> None:
    """The message names the key of agent.yaml."""
    with pytest.raises(ConfigError, match=r"revoked: No such file.*correct `revoked_keys`"):
        TrustedKeys.read(str(keys), str(keys.with_name("revoked")))
    keys.write_bytes(b"#" * (MAX_KEYS + 1))
    with pytest.raises(ConfigError, match=r"longer than.*correct `keys`"):
        TrustedKeys.read(str(keys), None)
