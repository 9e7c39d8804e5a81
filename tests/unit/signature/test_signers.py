# SPDX-License-Identifier: Apache-2.0
import subprocess
from pathlib import Path

import pytest

from geodrop.signature.signers import lines_of
from geodrop.signature.ssh_keygen import NAMESPACE
from tests.support.signing import SigningKeys, write_ruleset

NOW = 1_800_000_000.0
"""2027-01-15."""

OPTIONS = {
    f'namespaces="{NAMESPACE}"': "",
    'namespaces="git,ruleset@*"': "",
    "cert-authority": "",
    'namespaces="git"': f"is not for {NAMESPACE}",
    f'namespaces="{NAMESPACE}",valid-before="20240101"': "has expired",
    'valid-before="20240101120000Z"': "has expired",
    'valid-before="29990101"': "",
    'valid-after="299901011200"': "is not valid yet",
    'valid-after="20240101"': "",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_options(tmp_path: Path, options: str) -> None:
    """A line that cannot trust a ruleset now says why."""
    keys = SigningKeys(tmp_path)
    [line] = lines_of(keys.trust(f"alice {options}").read_bytes(), NOW)
    assert (line.number, line.principals) == (2, "alice@example.com")
    assert line.useless.startswith(OPTIONS[options]) if OPTIONS[options] else not line.useless


@pytest.mark.parametrize("options", [one for one in OPTIONS if one != "cert-authority"])
def test_ssh_keygen_says_the_same(tmp_path: Path, options: str) -> None:
    """What we warn of is what ssh-keygen refuses."""
    keys, path = SigningKeys(tmp_path / "keys"), tmp_path / "a.ruleset"
    write_ruleset(path, 1)
    keys.trust(f"alice {options}")
    signature = keys.sign(path, "alice")
    command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", "alice@example.com"]
    files = ["-f", str(keys.allowed), "-s", str(signature), "-O", "verify-time=20270115080000Z"]
    done = subprocess.run([*command, *files], input=path.read_bytes(), check=False, capture_output=True)
    assert (done.returncode == 0) == (not OPTIONS[options]), done.stderr


def test_lines() -> None:
    """Comments and empty lines are none; a line without a key is one that says so."""
    found = list(lines_of(b"\n# alice\nalice ssh-ed25519\n  bob\tssh-rsa AAAAB3Nz\n", NOW))
    assert [(one.number, one.useless) for one in found] == [(3, "has no key"), (4, "")]
