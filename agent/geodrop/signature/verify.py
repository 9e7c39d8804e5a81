# SPDX-License-Identifier: Apache-2.0
"""Check the signature of a ruleset: by a key that is trusted, neither expired nor revoked, and for rulesets."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import DataError, UnavailableError, not_opened
from geodrop.inputs import read_regular
from geodrop.signature.signers import usable
from geodrop.signature.ssh_keygen import NAMESPACE, Said, check
from geodrop.text import harmless

if TYPE_CHECKING:
    from geodrop.ruleset.container import Container
    from geodrop.signature.trusted import TrustedKeys

SUFFIX = ".sig"
"""A signature lies beside its file, where `ssh-keygen -Y sign` puts it."""

MAX_SIGNATURE = 1 << 16
MAX_PRINCIPALS = 16
"""Principals of one key that are tried, in the order of the file."""

MAX_PRINCIPAL = 256
"""Characters of a principal that are kept."""

_KEY = re.compile(r" key (SHA256:[A-Za-z0-9+/]{43})$", re.MULTILINE)
_LINE = re.compile(r"^/proc/self/fd/\d+:(?P<number>\d+): (?P<said>.+)", re.MULTILINE)
_EXPIRED = re.compile(r"key (?:has expired|is not yet valid): .*")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed: the principal that the file of keys names, and the fingerprint of the key."""

    principal: str
    key: str

    def __str__(self) -> str:
        return f"{self.principal} ({self.key})"


def read_signature(path: str) -> bytes:
    """Return the signature that lies beside a file. Raises DataError."""
    name = path + SUFFIX
    try:
        return read_regular(name, MAX_SIGNATURE)
    except FileNotFoundError:
        raise DataError(
            f"{path}: not signed, and `keys` in agent.yaml wants every ruleset signed: there is no {name}",
            "sign it with: geodrop compile --sign KEY, and copy both files",
        ) from None
    except OSError as error:
        raise not_opened(name, error, DataError, "sign it again with: geodrop compile --sign KEY") from error


def verify(file: Container, path: str, signature: bytes, trusted: TrustedKeys) -> Signer:
    """Return who signed the bytes of a ruleset's file, which are in sealed memory; `path` is for messages.

    Raises DataError if no trusted key did, and UnavailableError if that cannot be checked.
    """
    if file.memory is None or file.base is not None:
        raise DataError(
            f"{path}: a delta file, and a signature of it does not cover its base",
            "sign a whole file: geodrop compile --sign KEY",
        )
    message = file.memory.descriptor
    options = ("-Y", "verify", "-n", NAMESPACE, "-f", trusted.allowed, "-s", signature)
    revoked = () if trusted.revoked is None else ("-r", trusted.revoked)
    principals: list[str] = []
    words: list[str] = []
    # It names the principals of the first line with the key, though that may be a line for git. So it is asked first
    # about the lines that can count; then about all, for its reason.
    for lines in dict.fromkeys((usable(trusted.allowed, time.time()), trusted.allowed)):
        found = check(["-Y", "find-principals", "-f", lines, "-s", signature], message)
        principals = [one for one in found.out.splitlines() if one] if found.code == 0 else []
        words = [found.err]
        for principal in principals[:MAX_PRINCIPALS]:
            said = check([*options, "-I", principal, *revoked], message)
            if said.code == 0 and (key := _KEY.search(said.out)):
                return Signer(harmless(principal)[:MAX_PRINCIPAL], key[1])
            words.append(said.err)
    alone = check(["-Y", "check-novalidate", "-n", NAMESPACE, "-s", signature], message)
    raise _refusal(path, trusted, alone, "\n".join(words), known=bool(principals))


def _refusal(path: str, trusted: TrustedKeys, alone: Said, words: str, *, known: bool) -> DataError | UnavailableError:
    """Return why a signature does not count.

    `alone` is what was said of the signature without the keys, `words` what was said of the keys. `known`: the file of
    keys names the key.
    """
    name, again = path + SUFFIX, "sign it again with: geodrop compile --sign KEY"
    if "No user exists for uid" in alone.err:
        return UnavailableError("ssh-keygen runs only as a user that has a name", "see: getent passwd")
    if alone.code != 0:
        if "namespace does not match" in alone.err:
            return DataError(f"{name}: made for something else than {NAMESPACE}", again)
        if "incorrect signature" in alone.err:
            return DataError(
                f"{name}: a signature of other bytes than {path} has", f"copy both files again, or {again}"
            )
        return DataError(f"{name}: no signature that ssh-keygen can read ({_first(alone.err)})", again)
    made = _KEY.search(alone.out)
    key = f"{name}: made by key {made[1] if made else 'unknown'}, which"
    trusts = f"sign it with a key that {trusted.path} trusts"
    if expired := _EXPIRED.search(words):
        return DataError(f"{key} does not count now: {expired[0]}", f"{trusts}, or see the clock: timedatectl")
    if "not permitted for use in signature namespace" in words:
        return DataError(f"{key} may not sign for {NAMESPACE}", f"{trusts}, or add that to its namespaces= there")
    if not known:
        return _untrusted(key, trusted, words, trusts)
    if trusted.revoked is not None:
        return DataError(f"{key} is revoked by {trusted.revoked_path}, or that is no list of keys", trusts)
    return DataError(f"{key} does not count ({_first(words)})", trusts)


def _untrusted(key: str, trusted: TrustedKeys, words: str, trusts: str) -> DataError:
    """Return that no line trusts a key; with what ssh-keygen said of a line that may have been meant to."""
    unread = ""
    if line := _LINE.search(words):
        number, said = line["number"], harmless(line["said"].strip())[:200]
        if said == "no valid principals found":
            why = f"has expired, is for hosts, or has none of the names in line {number} of {trusted.path}"
            return DataError(f"{key} has a certificate that {why}", f"{trusts}, or see the certificate: ssh-keygen -L")
        unread = f", as far as that can be read (line {number}: {said})"
    return DataError(f"{key} is not in {trusted.path}{unread}", f"{trusts}, or add the key there")


def _first(words: str) -> str:
    return harmless(next(filter(None, words.splitlines()), "it does not say why"))[:200]
