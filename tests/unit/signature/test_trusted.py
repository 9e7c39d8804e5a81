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
    assert caught.value.next_step == f"chown root:geodrop {path}; chmod go-w {path}"
    assert caught.value.exit_code == 78


def test_the_folder_of_what_a_link_leads_to_counts(keys: Path, tmp_path: Path) -> None:
    """A link in a safe folder to a file in an open one is as open as that."""
    link = tmp_path / "link"
    link.symlink_to(keys)
    keys.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="others than root"):
        TrustedKeys.read(str(link), None)


def test_missing_or_too_long(keys: Path) -> None:
    """The message names the key of agent.yaml."""
    with pytest.raises(ConfigError, match=r"revoked: No such file.*correct `revoked_keys`"):
        TrustedKeys.read(str(keys), str(keys.with_name("revoked")))
    keys.write_bytes(b"#" * (MAX_KEYS + 1))
    with pytest.raises(ConfigError, match=r"longer than.*correct `keys`"):
        TrustedKeys.read(str(keys), None)
