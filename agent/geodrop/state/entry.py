# SPDX-License-Identifier: Apache-2.0
"""One record of the audit: who asked for a change, what it changed, and how it ended; as an object and as a line.

A line is a JSON object. `number` and `previous` link it to the line before it (state.chain). Values that are empty are
left out. What a line of the same ruleset has said already is not repeated: its inputs, and what it drops.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from geodrop import formats
from geodrop.ruleset.enforced import ENFORCED, EnforcedService
from geodrop.ruleset.fields import (
    FORMAT,
    LAST_MOMENT,
    Bounds,
    Field,
    Invalid,
    Newer,
    decode,
    listing,
    mapping,
    number,
    numbered,
    optional,
    record,
    text,
    whole,
)
from geodrop.state.asker import MAX_NAME
from geodrop.state.names import ANY, DIGEST, MAX_GENERATION, MAX_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DONE, FAILED, HELD, UNREAD = "done", "failed", "held", "unread"
"""How an attempt ended: HELD if a limit of the policy held it, and nothing changed. UNREAD: see Entry."""

ORIGINS = (
    "load",
    "reload",
    "confirm",
    "undo",
    "rollback",
    "boot",
    "pause",
    "resume",
    "unload",
    "exempt",
    "repair",
    "drift",
    "compact",
    "schedule",
    "prune",
    "newer",
)
"""What a record can be about: the operations that make a change, and what is found or forgotten."""

MAX_LINE = 1 << 20
"""Most bytes of a line. A longer line names more inputs than a compile takes, or was written by another program."""

MAX_NUMBER = 1 << 48
MAX_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Who asked for a change and why: `origin` is one of ORIGINS, `uid` the user's number.

    `change` says in one line what it changes, if that is known; `why` is a reason given by a person. `sudo_user` is the
    user who became root to ask for it (state.asker). A load or reload that is not confirmed within `confirm_within`
    seconds is undone (0: it need not be confirmed). `accept` is the digest, or its beginning, that the user accepts
    beyond the limits. `since` as for Entry.
    """

    origin: str
    uid: int
    change: str = ""
    why: str = ""
    sudo_user: str = ""
    confirm_within: int = 0
    accept: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """The records that were forgotten: all up to the number `through`, whose line had the hash `digest`.

    `kept` are those of them that stay because they are still needed: their numbers, as text, and the hashes of their
    lines. `until` is the time of the last one that was forgotten, in seconds since the epoch, and `count` their number.
    """

    through: int
    digest: str
    until: float
    count: int
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, or one failed attempt.

    `time` is when it ended, in seconds since the epoch, `seconds` how long it took. `generation` is the number it was
    given, `digest` its ruleset; 0 and "" if it failed before it had them, or removed everything.
    `previous_generation` and `previous_digest` were in force before it; 0 and "" if nothing was, or if it did not look.
    `target` is the generation whose ruleset a rollback brought back. Until `paused`, in seconds since the epoch,
    services only count. A load that had to be confirmed had until `confirm`, in seconds since the epoch. `accept` is
    the digest that was accepted beyond the limits.

    `since` is set where what is recorded began earlier, in seconds since the epoch: when another program's change was
    noticed, when the kernel went back by itself, when the machine started, the moment written in the policy.

    `signed_by` and `signed_key` are the principal and the key whose signature made this host accept the ruleset, and
    `compiled` is when the ruleset was compiled, in seconds since the epoch.

    `inputs` are the files the ruleset was made from, each with kind, name, sha256 and build_epoch, databases
    with their roles. `drops` is what the
    ruleset drops. Both are recorded when another ruleset comes in force. `pruned` says which records were forgotten.

    `number` counts the records of a host from 1, `previous` is the hash of the line before (state.chain); 0 and "" for
    an entry that is not written yet. `cut` are the bytes of a line before it that was cut off and removed.

    `newer` is the format of a record that a newer geodrop wrote: only CORE of it was read, its origin is "newer", and
    how it ended is UNREAD. It is never written.
    """

    time: float
    origin: str
    outcome: str
    uid: int
    generation: int = 0
    digest: str = ""
    seconds: float = 0.0
    change: str = ""
    why: str = ""
    error: str = ""
    target: int = 0
    paused: int = 0
    confirm: int = 0
    sudo_user: str = ""
    inputs: tuple[dict[str, Any], ...] = ()
    previous_generation: int = 0
    previous_digest: str = ""
    accept: str = ""
    since: float = 0.0
    drops: tuple[EnforcedService, ...] = ()
    pruned: Pruned | None = None
    number: int = 0
    previous: str = ""
    cut: int = 0
    newer: int = 0
    signed_by: str = ""
    signed_key: str = ""
    compiled: int = 0

    @property
    def put_in_force(self) -> bool:
        """Whether this change put a generation in force."""
        return self.outcome == DONE and self.generation > 0 and bool(self.digest)

    @property
    def ends(self) -> bool:
        """Whether it ended what was in force, and numbered nothing else; an undo may name what is in force again."""
        return self.outcome == DONE and not self.put_in_force and self.origin in {"unload", "undo", "rollback"}


@dataclass(slots=True)
class Attempt:
    """What a change records about itself while it runs; see Entry. If `made` stays False, nothing is recorded."""

    generation: int = 0
    digest: str = ""
    change: str = ""
    target: int = 0
    paused: int = 0
    confirm: int = 0
    inputs: Sequence[dict[str, Any]] = field(default_factory=tuple)
    previous_generation: int = 0
    previous_digest: str = ""
    drops: tuple[EnforcedService, ...] = ()
    signed_by: str = ""
    signed_key: str = ""
    compiled: int = 0
    made: bool = False


def line_of(entry: Entry) -> bytes:
    """Return the line of an entry, without its line break."""
    content: dict[str, Any] = {FORMAT: formats.HISTORY.number}
    content |= {name: value for name, value in asdict(entry).items() if value not in ("", 0, (), None)}
    content |= {name: content[name][:MAX_TEXT] for name in ("change", "why", "error") if name in content}
    for name in ("inputs", "drops"):
        line = json.dumps(content, separators=(",", ":")).encode()
        if len(line) < MAX_LINE:
            return line
        content.pop(name, None)
    return json.dumps(content, separators=(",", ":")).encode()


_WORD = text(32, re.compile("[a-z-]+"))
_TEXT = text(MAX_TEXT, ANY)
_HASH = text(64, re.compile("[0-9a-f]{64}"))
_GENERATION = whole(0, MAX_GENERATION)
_NUMBER = whole(1, MAX_NUMBER)
_MOMENT = whole(0, LAST_MOMENT)
_TIME = number(0, LAST_MOMENT)
_ROLE: Field[dict[str, Any]] = record(
    dict, ("ipv4", "ipv6_48s"), others=True, name=_WORD, ipv4=whole(0, MAX_NUMBER), ipv6_48s=whole(0, MAX_NUMBER)
)
MAX_ROLES = 64
_INPUT: Field[dict[str, Any]] = record(
    dict,
    ("kind", "name", "sha256", "database_type", "build_epoch", "roles"),
    others=True,
    kind=_WORD,
    name=text(4_096, ANY),
    sha256=text(64, DIGEST),
    database_type=optional(text(1_024, ANY)),
    build_epoch=optional(_MOMENT),
    roles=listing(_ROLE, MAX_ROLES),
)
_PRUNED = record(
    Pruned,
    ("kept",),
    others=True,
    through=_NUMBER,
    digest=_HASH,
    until=_TIME,
    count=_NUMBER,
    kept=mapping(text(15, re.compile("[0-9]+")), _HASH, MAX_KEPT),
)
_REQUIRED: dict[str, Field[Any]] = {"time": _TIME, "origin": _WORD, "outcome": _WORD}
_OPTIONAL: dict[str, Field[Any]] = {
    "uid": whole(0, (1 << 32) - 1),
    "generation": _GENERATION,
    "digest": text(64, DIGEST),
    "seconds": _TIME,
    "change": _TEXT,
    "why": _TEXT,
    "error": _TEXT,
    "target": _GENERATION,
    "paused": _MOMENT,
    "confirm": _MOMENT,
    "sudo_user": text(MAX_NAME, ANY),
    "inputs": listing(_INPUT, 2_048),
    "previous_generation": _GENERATION,
    "previous_digest": text(64, DIGEST),
    "accept": text(64, DIGEST),
    "since": _TIME,
    "drops": ENFORCED,
    "pruned": _PRUNED,
    "number": _NUMBER,
    "previous": _HASH,
    "cut": whole(0, MAX_LINE),
    "signed_by": _TEXT,
    "signed_key": _TEXT,
    "compiled": _MOMENT,
}
_FIELDS = record(partial(Entry, uid=0), tuple(_OPTIONAL), others=True, **_REQUIRED, **_OPTIONAL)
ENTRY = numbered(formats.HISTORY, _FIELDS, before=_FIELDS)
"""The form of a line. The one before differs in having no number."""

CORE = ("time", "number", "previous", "cut", "pruned")
"""Keys that mean the same in every format: with them an older geodrop follows the chain, and adds to it."""

_CORE = record(
    partial(Entry, origin="newer", outcome=UNREAD, uid=0),
    ("number", "previous", "cut", "pruned"),
    others=True,
    **{name: (_REQUIRED | _OPTIONAL)[name] for name in CORE},
)

_BOUNDS = Bounds(MAX_LINE, 20_000)


def parse(line: bytes) -> Entry | None:
    """Return a line's entry, of a later format only its core; None if it is invalid."""
    try:
        content = decode(line, _BOUNDS)
        try:
            return ENTRY(content)
        except Newer as newer:
            return replace(_CORE(content), newer=newer.number, error=formats.by_newer(newer.number))
    except Invalid:
        return None
