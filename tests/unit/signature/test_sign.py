# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from geodrop.errors import DataError
from geodrop.ruleset.container import open_file
from geodrop.signature.sign import sign
from geodrop.signature.trusted import TrustedKeys
from geodrop.signature.verify import verify
from tests.support.signing import SigningKeys, write_ruleset


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    """Return keys of which one is trusted."""
    made = SigningKeys(tmp_path / "keys")
    made.trust("alice")
    return made


@pytest.fixture
def agent(keys: SigningKeys, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an ssh-agent that holds the key, whose file is gone."""
    address = keys.folder / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(address))
    try:
        # It answers from the moment its socket is there; ssh-add fails until then.
        while subprocess.run(
            ["ssh-add", "-q", str(keys.key("alice"))], check=False, stderr=subprocess.DEVNULL
        ).returncode:
            assert process.poll() is None
        keys.key("alice").unlink()
        yield
    finally:
        process.terminate()
        process.wait()


def signed(path: Path, key: str) -> bytes:
    """Sign a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return sign(descriptor, key)
    finally:
        os.close(descriptor)


def test_what_is_signed_is_verified(keys: SigningKeys, tmp_path: Path) -> None:
    """A signature by a key in a file counts where that key is trusted."""
    path = tmp_path / "a.ruleset"
    write_ruleset(path, 1)
    signature = signed(path, str(keys.key("alice")))
    trusted = TrustedKeys.read(str(keys.allowed), None)
    assert verify(open_file(path), str(path), signature, trusted).principal == "alice@example.com"


@pytest.mark.usefixtures("agent")
def test_a_key_of_an_agent(keys: SigningKeys, tmp_path: Path) -> None:
    """A public key stands for its private key in ssh-agent, so that this need not be on the host that compiles."""
    path = tmp_path / "a.ruleset"
    write_ruleset(path, 1)
    signature = signed(path, f"{keys.folder / 'alice'}.pub")
    trusted = TrustedKeys.read(str(keys.allowed), None)
    assert verify(open_file(path), str(path), signature, trusted).key


def test_no_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """ssh-keygen says what is wrong, and our message says what to name."""
    path = tmp_path / "a.ruleset"
    write_ruleset(path, 1)
    with pytest.raises(DataError, match="could not sign with it, and nothing was written; name a private key"):
        signed(path, str(tmp_path / "none"))
    assert "No such file" in capfd.readouterr().err
