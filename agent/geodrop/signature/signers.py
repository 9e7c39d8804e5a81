# SPDX-License-Identifier: Apache-2.0
"""Which lines of an allowed_signers file can trust a signature of a ruleset now, by "ALLOWED SIGNERS" of ssh-keygen(1).

ssh-keygen alone decides on a signature. This is read to warn before there is a ruleset to be refused, and to ask
ssh-keygen about the line that counts where several lines have the same key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from geodrop.signature.ssh_keygen import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEY = re.compile(r"(?:^|\s)(?P<key>(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+\s+AAAA[A-Za-z0-9+/=]+)")
_OPTION = re.compile(r'(?:^|[\s,])(?P<name>namespaces|valid-after|valid-before)="(?P<value>[^"]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SignerLine:
    """A line of the file: its number from 1, the principals, and why it cannot trust a ruleset now ("" if it can)."""

    number: int
    principals: str
    useless: str = ""


def usable(allowed: bytes, now: float) -> bytes:
    """Return an allowed_signers file without the lines that cannot trust a ruleset at `now`, as for `lines_of`."""
    useless = {one.number for one in lines_of(allowed, now) if one.useless}
    return b"".join(line for number, line in enumerate(allowed.splitlines(keepends=True), 1) if number not in useless)


def lines_of(allowed: bytes, now: float) -> Iterator[SignerLine]:
    """Yield each line of an allowed_signers file that is no comment. `now` is in seconds since the epoch."""
    for number, raw in enumerate(allowed.splitlines(), 1):
        line = raw.decode(errors="replace").strip()
        if line and not line.startswith("#"):
            principals, *rest = line.split(None, 1)
            yield SignerLine(number, principals, _useless(" ".join(rest), now))


def _useless(rest: str, now: float) -> str:
    key = _KEY.search(rest)
    if key is None:
        return "has no key"
    options = {found["name"].lower(): found["value"] for found in _OPTION.finditer(rest[: key.start()])}
    namespaces = options.get("namespaces")
    if namespaces is not None and not any(fnmatchcase(NAMESPACE, one) for one in namespaces.split(",")):
        return f"is not for {NAMESPACE}"
    if "valid-before" in options and now > _moment(options["valid-before"]):
        return f"has expired (valid-before={options['valid-before']})"
    if "valid-after" in options and now < _moment(options["valid-after"]):
        return f"is not valid yet (valid-after={options['valid-after']})"
    return ""


def _moment(text: str) -> float:
    """Return a moment in seconds since the epoch: YYYYMMDD[HHMM[SS]], in local time unless Z follows.

    0 for any other text, which ssh-keygen refuses.
    """
    digits = text.rstrip("Zz")
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if form is None or not digits.isdigit():
        return 0.0
    try:
        found = datetime.strptime(digits, form)  # noqa: DTZ007 - the zone follows
    except ValueError:
        return 0.0
    return (found.replace(tzinfo=UTC) if digits != text else found.astimezone()).timestamp()
