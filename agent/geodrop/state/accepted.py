# SPDX-License-Identifier: Apache-2.0
"""Which rulesets this host has accepted since it demands signatures: accepted.json, by digest.

A signature is checked once, when the bytes enter. From then on the digest counts: a boot, a rollback or a repair must
work when the key has expired, was withdrawn or replaced, and without running another program. So the file is written
before the ruleset is put in force. The file knows also the newest compile time that was ever accepted, so that an older
ruleset is not taken for a newer one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from geodrop import formats
from geodrop.errors import DataError, NewerError
from geodrop.inputs import read_regular
from geodrop.ruleset.fields import (
    FORMAT,
    LAST_MOMENT,
    Bounds,
    Invalid,
    Newer,
    decode,
    mapping,
    numbered,
    record,
    text,
    whole,
)
from geodrop.state import files
from geodrop.state.names import DIGEST
from geodrop.state.room import Room

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST = 100_000
"""Rulesets at most: `keep` in agent.yaml can keep one less."""

LONGEST = 256
"""Characters of a principal, and of the fingerprint of a key."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """How a ruleset was accepted: by whose signature, and when (seconds since the epoch).

    `principal` is the name that the file of trusted keys gives the signer, and `key` the fingerprint. Both are "" for
    what was in force when the host began to demand signatures; `compiled`, a moment as well, is 0 then.
    """

    time: int
    principal: str = ""
    key: str = ""
    compiled: int = 0

    @property
    def signer(self) -> str:
        """Who signed it, for people; "" if nobody did."""
        return f"{self.principal} ({self.key})" if self.key else ""


@dataclass(frozen=True, slots=True)
class AcceptedRulesets:
    """The acceptances by digest, and the newest compile time of all, also of those that are forgotten."""

    newest: int = 0
    rulesets: Mapping[str, Acceptance] = field(default_factory=dict)


_TEXT = text(LONGEST)
_ACCEPTANCE = record(
    Acceptance,
    ("principal", "key", "compiled"),
    others=True,
    time=whole(0, LAST_MOMENT),
    principal=_TEXT,
    key=_TEXT,
    compiled=whole(0, LAST_MOMENT),
)
_CONTENT = record(
    AcceptedRulesets,
    others=True,
    newest=whole(0, LAST_MOMENT),
    rulesets=mapping(text(64, DIGEST), _ACCEPTANCE, MOST),
)
_FILE = numbered(formats.ACCEPTED, _CONTENT, before=_CONTENT)
"""The form of the file. Keys that a later version added are ignored."""

_BOUNDS = Bounds(size=64 << 20, values=5 * MOST + 10)


class Accepted:
    """The file of one state directory. A writer holds state.lock.exclusive."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "accepted.json"
        self._room = Room(folder)

    def read(self) -> AcceptedRulesets | None:
        """Return what was accepted; None if there is no file. Raises DataError if it cannot be read, NewerError if a
        newer geodrop wrote it.
        """
        try:
            return _FILE(decode(read_regular(self.path, _BOUNDS.size), _BOUNDS))
        except FileNotFoundError:
            return None
        except Newer as newer:
            raise formats.ACCEPTED.refusal(newer.number, str(self.path), "") from None
        except Invalid as invalid:
            raise DataError(f"{self.path}: damaged ({invalid})", "load a signed ruleset, which replaces it") from None
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror}", "look at the disk") from error

    def write(self, accepted: AcceptedRulesets) -> None:
        """Replace the file. Raises PrivilegeError or ApplyError; NewerError if a newer geodrop wrote it."""
        if isinstance(problem := self._problem(), NewerError):
            raise problem
        content = json.dumps(
            {FORMAT: formats.ACCEPTED.number, "newest": accepted.newest, "rulesets": _stored(accepted)}
        ).encode()
        self._room.write(lambda: files.replace(self.path, lambda file: file.write(content)))

    def problems(self) -> list[str]:
        """Return a line of text if the file cannot be read, with the consequence."""
        if (problem := self._problem()) is None:
            return []
        return [f"{problem.message}, so the history tells which rulesets were accepted; next: {problem.next_step}"]

    def _problem(self) -> DataError | None:
        try:
            self.read()
        except DataError as error:
            return error
        return None

    def forget(self) -> None:
        """Remove the file, since this host demands no signatures any more. Raises PrivilegeError or ApplyError."""
        files.remove(self.path)


def _stored(accepted: AcceptedRulesets) -> dict[str, dict[str, object]]:
    return {
        digest: {name: value for name, value in asdict(one).items() if value}
        for digest, one in accepted.rulesets.items()
    }
