# SPDX-License-Identifier: Apache-2.0
"""What was last asked for: an Intent, its form in intent.json, and how it follows from a history. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from geodrop import formats
from geodrop.ruleset.fields import (
    FORMAT,
    LAST_MOMENT,
    Invalid,
    Newer,
    choice,
    flag,
    listing,
    numbered,
    optional,
    record,
    text,
    whole,
)
from geodrop.state.names import ANY, DIGEST, ENGINES, INTERFACE, LONGEST, MAX_GENERATION, MAX_NAMES, MAX_TEXT
from geodrop.state.unconfirmed import UNCONFIRMED, UNDONE, Unconfirmed, Undone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.ruleset.fields import Field
    from geodrop.state.entry import Entry

FOREVER = 4_102_444_800
"""The year 2100, in seconds since the epoch: the end of a pause without an end."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What was last asked for.

    `generation` is the highest number ever given out. `begun` is the number of a change whose end is not written yet,
    so the kernel may or may not have switched to it; 0: none. `digest` is the ruleset that was loaded last, `last_good`
    the one that a boot restores; "" before the first load. Until `paused` (seconds since the epoch; 0: not paused)
    services only count, because of `why`. `rolled_back`: after a rollback the older ruleset stays in force until a load
    or reload is requested explicitly.

    `interfaces` are the interfaces of the last load, as in agent.yaml or on the command line (empty: those with a
    default route; None: unknown); `engine` is its engine ("": unknown). A boot or a daemon uses them if agent.yaml
    cannot be used.

    `confirm` is set while a load waits to be confirmed: `digest` is then that of the load, and `last_good` the one
    before. `undone` is the last load that was undone, until the next load or reload that is requested explicitly.

    `unknown` is set if files exist but cannot be read, and says why the intent is unknown. An unload or a pause may be
    in them, so nothing is restored, ended or removed until a person asks for something. It is never stored.

    `newer` is the format of a file that a newer geodrop wrote, of which only CORE was read; 0 if all was. Such a file
    is never replaced. It is never stored either.
    """

    generation: int = 0
    digest: str = ""
    unloaded: bool = False
    paused: int = 0
    why: str = ""
    last_good: str = ""
    rolled_back: bool = False
    interfaces: tuple[str, ...] | None = None
    engine: str = ""
    confirm: Unconfirmed | None = None
    undone: Undone | None = None
    begun: int = 0
    unknown: str = ""
    newer: int = 0

    def paused_at(self, now: float) -> bool:
        """Return whether services only count at `now`, in seconds since the epoch."""
        return now < self.paused


def _unnumbered(digest: str, last_good: str | None = None, **rest: Any) -> Intent:  # noqa: ANN401 - fields of Intent
    return Intent(digest=digest, last_good=digest if last_good is None else last_good, **rest)


def _core(generation: int, last_good: str, **rest: Any) -> Intent:  # noqa: ANN401 - fields of Intent
    # A change that the newer geodrop began may be the one in force: so `begun` leaves that to the kernel.
    return Intent(generation=generation, digest=last_good, last_good=last_good, begun=generation, **rest)


_FIELDS: dict[str, Field[Any]] = {
    "generation": whole(0, MAX_GENERATION),
    "digest": text(64, DIGEST),
    "unloaded": flag,
    "paused": whole(0, LAST_MOMENT),
    "why": text(MAX_TEXT, ANY),
    "last_good": text(64, DIGEST),
    "rolled_back": flag,
    "interfaces": optional(listing(text(LONGEST, INTERFACE), MAX_NAMES)),
    "engine": choice(*ENGINES, ""),
    "confirm": optional(UNCONFIRMED),
    "undone": optional(UNDONE),
    "begun": whole(0, MAX_GENERATION),
}
CORE = ("generation", "last_good", "unloaded", "paused", "why")
"""Keys that mean the same in every format: with them an older geodrop boots what a newer one had in force."""

_ALWAYS = {"generation", "digest", "unloaded"}
INTENT = numbered(
    formats.INTENT,
    record(Intent, (), others=True, **_FIELDS),
    before=record(_unnumbered, tuple(_FIELDS.keys() - _ALWAYS), others=True, **_FIELDS),
)
"""The form of intent.json. In files without a number most keys may be missing."""

_CORE = record(_core, (), others=True, **{name: _FIELDS[name] for name in CORE})


def stored(intent: Intent) -> dict[str, Any]:
    """Return an intent in the form of the file."""
    fields = asdict(intent)
    content = {name: fields[name] for name in _FIELDS}
    return {FORMAT: formats.INTENT.number} | content | {"why": intent.why[:MAX_TEXT]}


def parsed(content: object) -> Intent | None:
    """Return an intent; None if the content is invalid."""
    try:
        return INTENT(content)
    except Invalid:
        return None


def intent_of_file(content: object) -> Intent:
    """Return the intent that a file holds; of a later format only its core. Raises Invalid."""
    try:
        return INTENT(content)
    except Newer as newer:
        number = newer.number
    try:
        return replace(_CORE(content), newer=number)
    except Invalid:
        return Intent(unknown=f"was {formats.by_newer(number)}", newer=number)


def recovered(entries: Iterable[Entry]) -> Intent:
    """Return the intent that a history leads to."""
    content: dict[str, Any] = {}
    for entry in entries:
        content["generation"] = max(content.get("generation", 0), entry.generation)
        if entry.outcome == "done":
            content |= dict(_consequences(entry))
    return Intent(**content)


def _consequences(entry: Entry) -> Iterator[tuple[str, Any]]:
    if entry.confirm:
        return  # until it is confirmed, what was before is asked for; the kernel tells the rest
    if entry.put_in_force:
        yield from (("digest", entry.digest), ("unloaded", False))
    if entry.put_in_force and entry.origin != "boot":
        yield "last_good", entry.digest
    match entry.origin:
        case "unload":
            yield "unloaded", True
        case "undo":
            yield from (("rolled_back", True), ("unloaded", not entry.digest))
        case "rollback" | "load" | "reload" | "confirm":
            yield "rolled_back", entry.origin == "rollback"
        case "pause" | "resume":
            yield from (("paused", entry.paused), ("why", entry.why if entry.paused else ""))
