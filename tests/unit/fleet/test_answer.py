# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from geodrop import utc
from geodrop.errors import DataError
from geodrop.fleet.answer import BOUNDS, LONG, PROBLEMS, Failure, HostStatus, Silence, read
from geodrop.report.state import State
from tests.support.fleets import STATUS

if TYPE_CHECKING:
    from pathlib import Path


def said(folder: Path, value: object) -> HostStatus | Silence:
    """Return what is read from a file with this value, or with exactly these bytes."""
    path = folder / "edge-001.json"
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return read(path)


def test_a_status(tmp_path: Path) -> None:
    """All that the table shows is kept."""
    assert said(tmp_path, STATUS) == HostStatus(
        host="edge-001",
        version="1.0.0",
        state=State.ENFORCING,
        healthy=True,
        answered=utc.epoch("2026-01-02T15:00:00Z"),
        generation=42,
        digest="9a" * 32,
        asked="auto",
        engines=("xdp native",),
        denied_dropped=True,
        built=1_760_000_000,
        drift=0,
        repaired=0,
        drops=1_200.0,
        failure=None,
        deadline=None,
        problems=(),
        problem_count=0,
    )


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ({"databases": [{"built": None}, {"built": 7}, {"built": 5}]}, "built", 5),
        ({"databases": []}, "built", None),
        ({"dropped": None}, "drops", None),
        ({"dropped": {"packets": 5, "seconds": 0}}, "drops", None),
        ({"dropped": {"packets": 5, "seconds": 30}}, "drops", 10.0),
        ({"observed": {"time": "2026-01-02T15:00:00Z", "probes": [{"verdict": "accept"}]}}, "denied_dropped", False),
        ({"confirm": {"deadline": "2026-01-02T15:05:00Z"}}, "deadline", "2026-01-02T15:05:00Z"),
        ({"last_failure": {"time": "t", "origin": "load", "error": "e"}}, "failure", Failure("t", "load", "e")),
        ({"problems": ["p" * 1_000] * 20}, "problems", ("p" * (LONG - 3) + "...",) * PROBLEMS),
        ({"problems": ["p"] * 20}, "problem_count", 20),
    ],
)
def test_what_is_not_plain(tmp_path: Path, change: dict[str, Any], name: str, value: object) -> None:
    """The oldest database counts, drops are for a minute, long texts are cut, what is not known is None."""
    assert getattr(said(tmp_path, STATUS | change), name) == value


def test_an_earlier_version_says_less(tmp_path: Path) -> None:
    """During an upgrade of the fleet hosts of both versions are shown."""
    older = {name: value for name, value in STATUS.items() if name not in {"version", "engine", "drift"}}
    found = said(tmp_path, older)
    assert isinstance(found, HostStatus)
    assert (found.version, found.asked, found.drift) == (None, None, None)


def test_what_waits_for_an_interface_judges_nothing(tmp_path: Path) -> None:
    """Under `auto` nftables holds the names of all interfaces; it counts where a link is."""
    waiting: dict[str, Any] = {"name": "eth*", "engine": "nftables", "attach": None, "links": []}
    there = waiting | {"links": ["eth1"]}
    for interface, expected in ((waiting, ("xdp native",)), (there, ("nftables", "xdp native"))):
        found = said(tmp_path, STATUS | {"interfaces": [*STATUS["interfaces"], interface]})
        assert isinstance(found, HostStatus)
        assert found.engines == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"unreachable": True, "message": "no route"}, ("unreachable", "no route", "")),
        ({"unreachable": True}, ("unreachable", "no answer", "")),
        ({"unreachable": False, "message": "geodrop: not found"}, ("failed", "geodrop: not found", "")),
        ({"schema": 1, "error": "e", "next_step": "n", "exit": 77}, ("failed", "e", "n")),
        ({"error": "not installed"}, ("failed", "not installed", "")),
    ],
)
def test_a_host_without_a_status(tmp_path: Path, value: object, expected: tuple[str, str, str]) -> None:
    """It did not answer, or its command failed: that is no damaged file."""
    found = said(tmp_path, value)
    assert isinstance(found, Silence)
    assert (found.what, found.why, found.next_step, found.exit_code) == (*expected, 1)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"", "no JSON"),
        (b'{"sch', "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "inside each other"),
        (b" " * (BOUNDS.size + 1), "is longer than 4,194,304 bytes"),
        ([], "a list is no object"),
        ({}, "has no "),
        ({"unreachable": "no"}, 'unreachable: "no" is neither true nor false'),
        ({"unreachable": True, "message": 5}, "message: 5 is no text"),
        (STATUS | {"schema": 3}, "schema: 3 is not 2, which is read here: use the geodrop of that host"),
        (STATUS | {"state": "fine"}, 'state: "fine" is none of enforcing'),
        (STATUS | {"digest": "\x1b[31m"}, "digest: "),
        (STATUS | {"generation": -1}, "generation: -1 is no whole number"),
        (STATUS | {"repaired": True}, "repaired: true is no whole number"),
        (STATUS | {"observed": {"time": "yesterday", "probes": []}}, "observed.time: 'yesterday' is no moment"),
        (STATUS | {"dropped": {"packets": 1, "seconds": "x"}}, 'dropped.seconds: "x" is no number'),
    ],
)
def test_a_file_that_is_no_status(tmp_path: Path, value: object, told: str) -> None:
    """Each is refused with the place in the file, and nothing that it holds stops the command."""
    found = said(tmp_path, value)
    assert isinstance(found, Silence)
    assert (found.what, found.exit_code) == ("unreadable", DataError.exit_code)
    assert told in found.why
    assert str(tmp_path / "edge-001.json") in found.why
    assert found.next_step


def test_what_is_no_file(tmp_path: Path) -> None:
    """A FIFO, which nobody writes to, and a folder hold nothing up."""
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").mkdir()
    for name, kind in (("a", "a FIFO"), ("b", "a directory"), ("c", "No such file")):
        found = read(tmp_path / f"{name}.json")
        assert isinstance(found, Silence)
        assert kind in found.why
