# SPDX-License-Identifier: Apache-2.0
"""`geodrop fleet` as an operator runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cli import Geodrop, on_terminal
from tests.support.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEADINGS = (
    *("HOST", "STATE", "DIGEST", "ENGINE", "DROPS/MIN", "DROP SEEN", "VERSION", "DATABASE", "DRIFT", "GENERATION"),
    "LAST FAILURE",
)
FAILED = {"time": "2026-01-02T14:00:00Z", "origin": "load", "error": "no room"}


@pytest.fixture
def geodrop(tmp_path: Path) -> Geodrop:
    """Return a command line that has neither a namespace nor a state."""
    (tmp_path / "own").mkdir()
    return Geodrop(tmp_path / "own")


def hosts(folder: Path, more: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Write a fleet of two good hosts and others; return its folder."""
    (folder / "fleet").mkdir()
    return str(fleet(folder / "fleet", {"edge-1": {}, "edge-2": {}, **(more or {})}))


def test_alike(geodrop: Geodrop, tmp_path: Path) -> None:
    """Every column, then one line that says so; exit code 0."""
    head, *rows, last = geodrop.good("fleet", hosts(tmp_path)).out.splitlines()
    assert [head[head.index(name) :].split("  ")[0] for name in HEADINGS] == [*HEADINGS]
    assert [row.split() for row in rows] == [
        [
            name,
            "enforcing",
            "9a9a9a9a9a9a",
            "xdp",
            "native",
            "1,200",
            "15:00:00Z",
            "1.0.0",
            "85",
            "d",
            "none",
            "42",
            "none",
        ]
        for name in ("edge-1", "edge-2")
    ]
    assert last == "2 hosts, alike and well"


def test_odd_ones_first(geodrop: Geodrop, tmp_path: Path) -> None:
    """Each with its reasons under it, whatever they hold; exit code 1."""
    more = {
        "edge-9": {"unreachable": True, "message": "no \x1b[31mroute\nedge-1  enforcing"},
        "edge-8": {
            "digest": "",
            "repaired": 3,
            "drift": 2,
            "databases": [],
            "dropped": None,
            "healthy": False,
            "problems": ["table gone"],
            "last_failure": FAILED,
            "observed": {"time": "2026-01-02T15:00:00Z", "probes": []},
        },
    }
    done = geodrop.run("fleet", hosts(tmp_path, more))
    assert done.code == 1
    lines = done.out.splitlines()
    assert [" ".join(line.split()) for line in lines[1:7]] == [
        "edge-9 unreachable - - - - - - - - -",
        "no \\x1b[31mroute edge-1 enforcing",
        "edge-8 enforcing none xdp native - none 1.0.0 - 2 now, 3 repaired 42 2026-01-02T14:00:00Z load",
        "problem: table gone",
        "digest none; 2 of 3 hosts: 9a9a9a9a9a9a",
        "failed: load of 2026-01-02T14:00:00Z: no room",
    ]
    assert lines[-1] == "2 of 4 hosts are odd: edge-9, edge-8"


def test_a_file_that_cannot_be_read(geodrop: Geodrop, tmp_path: Path) -> None:
    """All other hosts are shown, it is a row of its own, and its exit code weighs more than that of an odd host."""
    folder = hosts(tmp_path, {"edge-4": {"unreachable": True}})
    (tmp_path / "fleet" / "edge-3.json").write_text("{")
    done = geodrop.run("fleet", folder)
    assert done.code == 65
    assert done.out.splitlines()[1].split()[:2] == ["edge-3", "unreadable"]
    assert "edge-3.json: no JSON" in done.out
    assert "; next: fetch `geodrop status --json` of this host again" in done.out
    assert "edge-2" in done.out
    done = geodrop.run("fleet", folder, "--json")
    assert done.code == 65
    assert [one["answer"] for one in done.json["hosts"]] == ["unreadable", "unreachable", "status", "status"]


def test_no_folder(geodrop: Geodrop, tmp_path: Path) -> None:
    """With --json the failure is an object too."""
    done = geodrop.run("fleet", str(tmp_path / "missing"), "--json")
    assert (done.code, done.json["exit"]) == (65, 65)


@pytest.mark.parametrize(("columns", "left"), [(80, HEADINGS[7:]), (40, HEADINGS[3:]), (10, HEADINGS[1:]), (400, ())])
def test_a_terminal(geodrop: Geodrop, tmp_path: Path, columns: int, left: tuple[str, ...]) -> None:
    """Whole columns go, the last ones first, and a line says which; what is odd is in colour."""
    folder = hosts(tmp_path, {"edge-9": {"version": "0.9"}})
    shown = on_terminal(geodrop.command("fleet", folder), columns).splitlines()
    assert [name for name in HEADINGS if name not in shown[0]] == [*left]
    assert (f"no room for {', '.join(left)}; --json has all" in shown) == bool(left)
    table = [line for line in shown if line.startswith(("HOST", "edge", "\x1b[33medge"))]
    assert len(table) == 4
    assert columns == 10 or max(len(line.removeprefix("\x1b[33m").removesuffix("\x1b[0m")) for line in table) <= columns
    assert shown[1].startswith("\x1b[33medge-9")
    assert shown[-1] == "\x1b[33m1 of 3 hosts is odd: edge-9\x1b[0m"


def test_no_colour_where_nobody_looks(geodrop: Geodrop, tmp_path: Path) -> None:
    """Neither in a pipe nor with NO_COLOR."""
    folder = hosts(tmp_path, {"edge-9": {"version": "0.9"}})
    assert "\x1b" not in geodrop.run("fleet", folder).out
    assert "\x1b" not in on_terminal(geodrop.command("fleet", folder), 80, {"NO_COLOR": "1"})


def test_json(geodrop: Geodrop, tmp_path: Path) -> None:
    """One object: what is usual, and each host with its reasons."""
    done = geodrop.run("fleet", hosts(tmp_path, {"edge-9": {"unreachable": True, "message": "\x1b"}}), "--json")
    assert done.code == 1
    found = done.json
    assert (found["schema"], found["alike"], found["newest"]) == (1, False, "2026-01-02T15:00:00Z")
    assert found["usual"] == {
        "version": {"value": "1.0.0", "hosts": 2, "of": 2},
        "digest": {"value": "9a" * 32, "hosts": 2, "of": 2},
        "state": {"value": "enforcing", "hosts": 2, "of": 2},
        "engines": [{"engine": "auto", "value": "xdp native", "hosts": 2, "of": 2}],
    }
    assert found["hosts"][:2] == [
        {
            "host": "edge-9",
            "odd": True,
            "reasons": ["\x1b"],
            "notes": [],
            "answer": "unreachable",
            "error": "\x1b",
            "next_step": "",
            "exit": 1,
        },
        {
            "host": "edge-1",
            "odd": False,
            "reasons": [],
            "notes": [],
            "answer": "status",
            "time": "2026-01-02T15:00:00Z",
            "version": "1.0.0",
            "generation": 42,
            "digest": "9a" * 32,
            "state": "enforcing",
            "healthy": True,
            "observed_drop": "2026-01-02T15:00:00Z",
            "engine": "auto",
            "engines": ["xdp native"],
            "database_built": 1_760_000_000,
            "drift": 0,
            "repaired": 0,
            "dropped_per_minute": 1_200.0,
            "last_failure": None,
        },
    ]


def test_one_host(geodrop: Geodrop, tmp_path: Path) -> None:
    """It is not compared with any other."""
    (tmp_path / "fleet").mkdir()
    done = geodrop.good("fleet", str(fleet(tmp_path / "fleet", {"edge-1": {}})))
    assert done.out.splitlines()[-1] == "1 host, well"
