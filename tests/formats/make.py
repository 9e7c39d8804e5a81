# SPDX-License-Identifier: Apache-2.0
"""Make the fixtures of the formats that this tree writes, where they are missing.

    python -m tests.formats.make

A fixture of a format is made once, and stays: test_formats.py reads each, and holds the bytes of the present ones. If a
form has to change, give it the next number in formats.py, make its fixture, and keep the one before. The fixtures of
earlier formats were made by this module at the commit before their number went up (rulesets of format 2 by the compiler
of that time).
"""

from __future__ import annotations

import json
import lzma
import tempfile
from ctypes import Structure, sizeof
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from geodrop import formats
from geodrop.control import frame
from geodrop.errors import ApplyError
from geodrop.ruleset import container
from geodrop.ruleset.enforced import EnforcedService
from geodrop.ruleset.meta import meta_json
from geodrop.ruleset.model import Ruleset
from geodrop.state import announce, unwritten
from geodrop.state.accepted import Acceptance, AcceptedRulesets
from geodrop.state.entry import DONE, FAILED, Entry, Pruned
from geodrop.state.exemptions import Exemption
from geodrop.state.intent import Intent
from geodrop.state.store import Store
from geodrop.state.unconfirmed import Unconfirmed, Undone
from geodrop.xdp import layout
from tests.support.worlds import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FOLDER = Path(__file__).parent

POLICY = """version: 1
groups: {far: [CN, RU]}
corrections: {5.5.0.0/16: US}
services:
  api:
    match: {ports: {tcp: [443, 8000-8099], udp: [443]}, addresses: [203.0.113.0/28]}
    default: deny
    unknown: allow
    allow: [US]
    ramp: {2030-01-01T00:00:00Z: 10%, 2030-01-02T00:00:00Z: 100%}
    expect: {accept: [2.0.0.1], region: {1.0.0.1: CN}}
  ping: {match: {protocols: [icmp]}, default: allow, unknown: allow, deny: ['group:far', 9.9.9.9], established: keep}
never_drop: {prefixes: [10.0.0.0/8], ports: {tcp: [22]}}
limits: {blast_radius: 5%, database_age: 45d}
"""
CHANGED = POLICY.replace("allow: [US]", "allow: [US, RU]")
"""The same address space and other verdicts: what a delta file is for."""

A, B, BOOT = "a" * 64, "b" * 64, "01234567-89ab-cdef-0123-456789abcdef"
INTENT = Intent(
    generation=9,
    digest=A,
    paused=1_900_000_000,
    why="INC-1",
    last_good=B,
    rolled_back=True,
    interfaces=("eth*", "wan0"),
    engine="auto",
    confirm=Unconfirmed(9, 8, B, seconds=60, deadline=10**12, ends=1_800_000_060, boot=BOOT, why="new region"),
    undone=Undone(B, 7, 1_799_999_000, "typing error"),
    begun=9,
)
INPUT = {"kind": "database", "name": "c.mmdb", "sha256": A, "database_type": "GeoIP2-Country", "build_epoch": 1_790_000}
RECORDS = (
    Entry(
        time=1_800_000_000.5,
        origin="reload",
        outcome=DONE,
        uid=990,
        generation=8,
        digest=B,
        seconds=0.25,
        change="api drops RU",
        why="new region",
        confirm=1_800_000_060,
        sudo_user="ada",
        inputs=(INPUT,),
        previous_generation=7,
        previous_digest=A,
        accept=B,
        drops=(EnforcedService("api", "enforce", 1_790_000_000, (), ("RU", "default: deny")),),
        signed_by="release@example.com",
        signed_key=f"SHA256:{'k' * 43}",
        compiled=1_800_000_000,
    ),
    Entry(1_800_000_100, "rollback", FAILED, 0, error="nothing is in force", target=7, since=1_800_000_000),
    Entry(1_800_000_200, "pause", DONE, 0, 9, B, paused=1_900_000_000, why="INC-1"),
    Entry(1_800_000_300, "prune", DONE, 990, pruned=Pruned(1, A, 1_800_000_000.5, 1, {"1": B})),
)
EXEMPTIONS = (
    Exemption("198.51.100.7/32", 1_800_000_000, 1_800_003_600, BOOT, 10**13, user="ada", why="TICKET-7"),
    Exemption("2001:db8::/64", 1_800_000_000, 1_800_003_600, BOOT, 10**13, rebooted=True),
)
ACCEPTED = AcceptedRulesets(
    1_800_000_000,
    {
        A: Acceptance(1_800_000_100, "release@example.com", f"SHA256:{'k' * 43}", 1_800_000_000),
        B: Acceptance(1_799_000_000),
    },
)
ANSWER = {"exit": 1, "error": "it failed", "next_step": "try again", "held": [], "data": {"x": [1, None]}}


def fixed(made: bytes) -> tuple[Mapping[str, Any], Mapping[str, memoryview]]:
    """Return JSON part and sections of a compiled ruleset, without what differs from one run to the next."""
    opened = Ruleset.unpack(made, "compiled")
    meta = meta_json(opened.meta) | {"compiler": "0.0.0"}
    for number, one in enumerate(meta["inputs"]):
        one |= {"sha256": f"{number:064x}", "build_epoch": one["build_epoch"] and 1_790_000_000}
    return meta, opened.sections


def ruleset(folder: Path) -> bytes:
    """Make a whole ruleset file."""
    return container.pack(*fixed(packed(POLICY, folder)))


def delta(folder: Path) -> bytes:
    """Make a delta file whose base is that ruleset."""
    return container.pack(*fixed(packed(CHANGED, folder)), container.unpack(ruleset(folder), "base"))


def intent(folder: Path) -> bytes:
    """Make an intent in which nothing is left out."""
    Store(folder).remember(INTENT)
    return (folder / "intent.json").read_bytes()


def history(folder: Path) -> bytes:
    """Make a history whose records have each field at least once."""
    store = Store(folder)
    for number, record in enumerate(RECORDS):
        if number == 1:
            with store.history.path.open("ab") as file:
                file.write(b'{"time":')  # cut off by a crash: the next record says so
        store.history.append(record)
    return store.history.path.read_bytes()


def accepted(folder: Path) -> bytes:
    """Make a file of accepted rulesets."""
    Store(folder).accepted.write(ACCEPTED)
    return (folder / "accepted.json").read_bytes()


def exemptions(folder: Path) -> bytes:
    """Make a file of exemptions."""
    Store(folder).exemptions.note(EXEMPTIONS)
    return (folder / "exemptions.json").read_bytes()


def unwritten_state(folder: Path) -> bytes:
    """Make what is kept in /run while a disk is full."""
    held = unwritten.Unwritten(folder)
    with mock.patch("time.time", return_value=1_800_000_000.5):
        held.hold(ApplyError("full"), {"generation": 3}, '{"time": 1}', {"exemptions": []})
    [file] = folder.glob("unwritten-*.json")
    return file.read_bytes()


def control(_: Path) -> bytes:
    """Make a request and an answer of the control socket."""
    return frame.encode({"verb": "reload", "args": {"why": "x"}, "sudo_user": "ada"}) + frame.encode(ANSWER)


def program_set(_: Path) -> bytes:
    """Write the layout that the XDP program's maps have: each structure with the places of its fields, each number."""
    lines = [
        f"{name} {value}" for name, value in sorted(vars(layout).items()) if name.isupper() and isinstance(value, int)
    ]
    for name, kind in sorted(vars(layout).items()):
        if isinstance(kind, type) and issubclass(kind, Structure) and kind is not Structure:
            lines.append(f"{name} {sizeof(kind)}")
            lines += [f"  {field[0]} {getattr(kind, field[0]).offset} {sizeof(field[1])}" for field in kind._fields_]
    return ("\n".join(lines) + "\n").encode()


MADE: dict[str, tuple[int, str, Callable[[Path], bytes]]] = {
    "ruleset": (formats.RULESET.number, "ruleset.xz", ruleset),
    "delta": (formats.RULESET.number, "ruleset.xz", delta),
    "intent": (formats.INTENT.number, "json", intent),
    "history": (formats.HISTORY.number, "jsonl", history),
    "accepted": (formats.ACCEPTED.number, "json", accepted),
    "exemptions": (formats.EXEMPTIONS.number, "json", exemptions),
    "unwritten": (formats.UNWRITTEN.number, "json", unwritten_state),
    "control": (formats.PROTOCOL.number, "frames", control),
    "program-set": (layout.LAYOUT_VERSION, "txt", program_set),
}
"""Each format: its present number, how its fixture's name ends, and what makes it in an empty folder."""


def path(name: str, number: int) -> Path:
    """Return the fixture of a format, which need not exist."""
    return FOLDER / f"{name}-{number}.{MADE[name][1]}"


def read(name: str, number: int) -> bytes:
    """Return the bytes of a fixture."""
    content = path(name, number).read_bytes()
    return lzma.decompress(content) if path(name, number).suffix == ".xz" else content


def made(name: str) -> bytes:
    """Return the bytes that this tree writes for a format."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(unwritten, "until_boot", return_value=folder),
        mock.patch.object(announce, "_listener"),
    ):
        return MADE[name][2](Path(folder))


def missing() -> Iterator[str]:
    """Make each fixture that is missing, and yield its name."""
    for name, (number, _, _) in MADE.items():
        file = path(name, number)
        if not file.exists():
            content = made(name)
            file.write_bytes(lzma.compress(content, preset=9) if file.suffix == ".xz" else content)
            yield file.name


if __name__ == "__main__":
    print(json.dumps({"made": list(missing())}))
