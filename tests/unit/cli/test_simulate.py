# SPDX-License-Identifier: Apache-2.0
"""`geodrop simulate` as an operator runs it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import Done, Geodrop
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """
version: 1
services:
  api: {{default: allow, unknown: allow, deny: [{}], mode: monitor, expect: {{accept: [{}]}}}}
"""
LOG = """\
1.0.0.1 - - [09/Jul/2024:13:55:36 +0000] "GET / HTTP/1.1" 200 5
example.com:80 1.0.0.2 - - [09/Jul/2024:13:59:36 +0000] "GET / HTTP/1.1" 200 5
1.0.0.1 - - [09/Jul/2024:14:55:36 +0000] "GET / HTTP/1.1" 200 5
{"client_ip": "2400::1", "time": "2024-07-09T14:00:00Z"}
8.8.8.8
not a line
"""


@pytest.fixture
def host(tmp_path: Path) -> tuple[Geodrop, list[str], str]:
    """Return a command line, the options for a policy that denies IR, and a ruleset that denies US."""
    records = {"1.0.0.0/8": country("IR"), "2400::/12": country("IR"), "8.0.0.0/8": country("US")}
    database = write_database(tmp_path / "d.mmdb", records)
    geodrop = Geodrop(tmp_path)
    ruleset = geodrop.compile(POLICY.format("US", "1.0.0.1"), database)
    (tmp_path / "new.yaml").write_text(POLICY.format("IR", "1.0.0.1"))
    return geodrop, ["--policy", str(tmp_path / "new.yaml"), "--database", str(database)], str(ruleset)


def test_policy_from_standard_input(host: tuple[Geodrop, list[str], str]) -> None:
    """A policy that is not in force, in monitor and with a failing test: what its ladder would drop, and a warning."""
    geodrop, policy, _ = host
    done = geodrop.good("simulate", "-", *policy, "--json", stdin=LOG)
    assert "warning: expect accept" in done.err
    found = done.json
    assert (found["requests"], found["clients"], found["unreadable"]["first_line"]) == (5, 4, 6)
    assert found["dropped"] == {"requests": 4, "clients": 3, "share": 0.8}
    assert found["regions"] == [{"region": "IR", "clients": 3, "requests": 4}]
    assert found["networks"][0] == {"network": "1.0.0.0/16", "clients": 2, "requests": 3}
    assert [(one["hour"], one["requests"]) for one in found["hours"]] == [("2024-07-09T13", 2), ("2024-07-09T14", 2)]


def test_against_a_ruleset(host: tuple[Geodrop, list[str], str], tmp_path: Path) -> None:
    """What is newly and no longer dropped, from files, one of them packed; the same policy in agent.yaml by default."""
    geodrop, policy, ruleset = host
    (tmp_path / "a.log").write_text(LOG)
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(LOG.encode()))
    files = [str(tmp_path / name) for name in ("a.log", "b.log.gz")]
    found = geodrop.good("simulate", *files, *policy, "--against", ruleset, "--json").json
    assert [found[name]["dropped"]["requests"] for name in ("newly_dropped", "no_longer_dropped")] == [8, 2]
    text = geodrop.good("simulate", *files, *policy, "--against", ruleset).out
    assert f"10 requests, 4 clients; 2 lines unreadable (first: {files[0]}, line 6: not a line)" in text
    assert "would newly drop 80.0% of requests, 3 clients: IR 3" in text
    with (tmp_path / "agent.yaml").open("a") as config:
        config.write("source: {policy: new.yaml, databases: [d.mmdb]}\n")
    assert geodrop.good("simulate", *files, "--json").json["dropped"] == found["dropped"]


def code(done: Done) -> tuple[int, bool]:
    """Return the exit code, and whether a next step was told."""
    return done.code, "; " in done.err


def test_failures(host: tuple[Geodrop, list[str], str], tmp_path: Path) -> None:
    """Each has its exit code and a next step."""
    geodrop, policy, ruleset = host
    (tmp_path / "empty").touch()
    assert code(geodrop.run("simulate", str(tmp_path / "missing"), "--ruleset", ruleset)) == (65, True)
    assert code(geodrop.run("simulate", str(tmp_path), "--ruleset", ruleset)) == (65, True)
    assert code(geodrop.run("simulate", str(tmp_path / "empty"), "--ruleset", ruleset)) == (65, True)
    assert code(geodrop.run("simulate", "-", "--ruleset", ruleset, stdin="no\n")) == (65, True)
    assert code(geodrop.run("simulate", "-", *policy, "--ruleset", ruleset)) == (2, True)
    assert code(geodrop.run("simulate", "-", "-", "--ruleset", ruleset)) == (2, True)
    assert code(geodrop.run("simulate", "-", "--database", "d")) == (2, True)
    assert code(geodrop.run("simulate", *["x"] * 33, "--ruleset", ruleset)) == (2, True)
    assert code(geodrop.run("simulate", "-", "--policy", "no.yaml", *policy[2:])) == (78, True)
