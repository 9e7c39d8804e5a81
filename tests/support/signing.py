# SPDX-License-Identifier: Apache-2.0
"""Keys, signatures and files of trusted keys, made by the real ssh-keygen."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from geodrop.ruleset.model import Meta, Ruleset
from geodrop.signature.ssh_keygen import NAMESPACE
from tests.unit.ruleset.test_model import META, pack

FOR_RULESETS = f'namespaces="{NAMESPACE}"'


@dataclass(frozen=True)
class SigningKeys:
    """A folder with keys, each made when it is first named, and the files `allowed` and `revoked`."""

    folder: Path

    @property
    def allowed(self) -> Path:
        """The file of trusted keys."""
        return self.folder / "allowed_signers"

    @property
    def revoked(self) -> Path:
        """The file of revoked keys."""
        return self.folder / "revoked_keys"

    def key(self, name: str) -> Path:
        """Return the path of a private key; the public one lies beside it."""
        path = self.folder / name
        if not path.exists():
            self.folder.mkdir(exist_ok=True)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def public(self, name: str) -> str:
        """Return the public key as text."""
        return Path(f"{self.key(name)}.pub").read_text().strip()

    def fingerprint(self, name: str) -> str:
        """Return SHA256:..., as ssh-keygen shows it."""
        command = ["ssh-keygen", "-l", "-f", str(self.key(name))]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]

    def trust(self, *lines: str) -> Path:
        """Write the file of trusted keys: for each NAME, or NAME and its options after a space, a line."""
        written = []
        for line in lines:
            name, _, options = line.partition(" ")
            written.append(f"{name}@example.com {options or FOR_RULESETS} {self.public(name)}")
        self.folder.mkdir(exist_ok=True)
        self.allowed.write_text("".join(f"{one}\n" for one in ["# who may sign", *written]))
        return self.allowed

    def revoke(self, *names: str) -> Path:
        """Write the file of revoked keys."""
        self.revoked.write_text("".join(f"{self.public(name)}\n" for name in names))
        return self.revoked

    def sign(self, path: Path, name: str, *, namespace: str = NAMESPACE, other: bytes | None = None) -> Path:
        """Sign a file, or other bytes in its place, into the signature beside it."""
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.key(name))]
        content = path.read_bytes() if other is None else other
        signature = Path(f"{path}.sig")
        signature.write_bytes(subprocess.run(command, check=True, input=content, stdout=subprocess.PIPE).stdout)
        return signature


def write_ruleset(path: Path, compiled: int | None, meta: Meta = META, what: str = "") -> Ruleset:
    """Write a small ruleset that says when it was compiled, and differs from others by `what`."""
    path.write_bytes(pack(replace(meta, compiled=compiled, policy=what)))
    return Ruleset.open(path)
