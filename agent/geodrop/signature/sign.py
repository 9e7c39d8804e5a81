# SPDX-License-Identifier: Apache-2.0
"""Sign a ruleset: with a key in a file, a key of ssh-agent, or a key in hardware, whatever ssh-keygen can use."""

from __future__ import annotations

import subprocess

from geodrop.errors import DataError
from geodrop.signature.ssh_keygen import NAMESPACE, program


def sign(message: int, key: str) -> bytes:
    """Return the signature of an open file, as `ssh-keygen -Y sign` writes it; `key` is the path of a key.

    A public key stands for its private key in ssh-agent. ssh-keygen may ask for a passphrase or a touch, so it has the
    user's environment and terminal, and all the time it needs. Raises DataError, after ssh-keygen has said why, and
    UnavailableError if it is not installed.
    """
    command = [program(), "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key]
    done = subprocess.run(command, stdin=message, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0 or not done.stdout:
        raise DataError(
            f"{key}: ssh-keygen could not sign with it, and nothing was written",
            "name a private key, or the public key of one in ssh-agent (ssh-add -l)",
        )
    return done.stdout
