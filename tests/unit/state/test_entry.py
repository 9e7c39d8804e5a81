# SPDX-License-Identifier: Apache-2.0
"""A record as an object and as a line."""

from __future__ import annotations

import json

from geodrop.ruleset.enforced import EnforcedService
from geodrop.state.entry import DONE, MAX_LINE, ORIGINS, Entry, Pruned, line_of, parse

API = EnforcedService("api", "enforce", 1_700_000_000, ((0, 100), (1_800_000_000, 10_000)), ("CN", "default"), ("US",))
WHOLE = Entry(
    time=1.5,
    origin="reload",
    outcome=DONE,
    uid=1000,
    generation=42,
    digest="d42",
    seconds=0.25,
    change="api drops BR",
    why="CHG-88",
    error="",
    target=3,
    paused=60,
    confirm=90,
    sudo_user="alice",
    inputs=(
        {"kind": "policy", "name": "policy.yaml", "sha256": "ab"},
        {"kind": "database", "name": "d.mmdb", "sha256": "ab", "roles": ({"name": "asn", "ipv4": 1, "ipv6_48s": 2},)},
    ),
    previous_generation=41,
    previous_digest="d41",
    accept="9a41c07be212",
    since=1.25,
    drops=(API,),
    pruned=Pruned(7, "0" * 64, 1.0, 6, {"3": "f" * 64}),
    number=8,
    previous="a" * 64,
    cut=5,
)


def test_a_line_is_the_whole_entry() -> None:
    """Each field comes back from the line; what is empty takes no room in it."""
    assert parse(line_of(WHOLE)) == WHOLE
    empty = Entry(1.5, "unload", DONE, 0)
    assert json.loads(line_of(empty)) == {"format": 2, "time": 1.5, "origin": "unload", "outcome": "done"}
    assert parse(line_of(empty)) == empty


def test_a_line_is_bounded() -> None:
    """What would make a line too long is left out: inputs first, then what is dropped; the rest stays."""
    inputs = tuple({"kind": "list", "name": "n" * 4_000, "sha256": "ab"} for _ in range(500))
    found = parse(line_of(Entry(1.5, "reload", DONE, 0, 7, "d7", inputs=inputs, drops=(API,))))
    assert found
    assert (found.inputs, found.drops, found.generation) == ((), (API,), 7)
    services = tuple(EnforcedService("s" * 250, "enforce", None, (), ("p" * 1_000,)) for _ in range(1_000))
    line = line_of(Entry(1.5, "reload", DONE, 0, 7, "d7", inputs=inputs, drops=services))
    assert len(line) < MAX_LINE
    assert parse(line)


def test_every_origin_can_be_read() -> None:
    """A record of each kind is read back."""
    assert all(parse(line_of(Entry(1.5, origin, DONE, 0))) for origin in ORIGINS)
