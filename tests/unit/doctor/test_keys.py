# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.doctor.finding import MISSING, OK
from geodrop.doctor.keys import COST, findings
from geodrop.signature import ssh_keygen
from tests.support.signing import SigningKeys


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    """Return the keys of alice and bob, which may sign."""
    made = SigningKeys(tmp_path / "keys")
    made.trust("alice", 'old valid-before="20240101"', "bob")
    return made


def config(keys: SigningKeys, revoked: Path | None = None) -> Config:
    """Return a configuration that demands signatures."""
    return Config(state=keys.folder / "state", keys=str(keys.allowed), revoked_keys=str(revoked) if revoked else None)


def test_good(keys: SigningKeys) -> None:
    """Who may sign now is named; nothing is said where nothing is demanded."""
    [found] = findings(config(keys))
    assert (found.status, found.found) == (OK, f"{keys.allowed} trusts alice@example.com, bob@example.com")
    assert list(findings(Config())) == []


def test_none_can_sign(keys: SigningKeys) -> None:
    """Each line says why; an empty file is said to be empty."""
    keys.trust('old valid-before="20240101"', 'git namespaces="git"')
    [found] = findings(config(keys))
    assert (found.status, found.cost) == (MISSING, COST)
    assert "line 2 has expired (valid-before=20240101); line 3 is not for ruleset@geodrop" in found.found
    keys.trust()
    [found] = findings(config(keys))
    assert "it is empty" in found.found


def test_cannot_be_used(keys: SigningKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is missing or open to others, or ssh-keygen that is missing, is found before a ruleset comes."""
    [found] = findings(config(keys, keys.revoked))
    assert "revoked_keys: No such file" in found.found
    keys.allowed.chmod(0o666)
    [found] = findings(config(keys))
    assert "others than root can change it" in found.found
    assert found.next_step.startswith("chown root:geodrop ")
    monkeypatch.setattr(ssh_keygen, "PATH", str(keys.folder))
    [found] = findings(config(keys))
    assert found.next_step == "apt-get install openssh-client"
