# SPDX-License-Identifier: Apache-2.0
"""geodrop works when only root can enter its folder, such as a checkout in /root.

The compile child is user nobody when it works, so it could not read a module then: all modules are imported before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.data import bundled_database
from geodrop.errors import DataError, PolicyError
from tests.support.namespaces import require
from tests.support.users import as_user

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "deploy" / "policies"

CLOSED = 'mount --bind "$1" "$2" && shift && cd "$1" && shift && exec "$@"'
"""Mount the tree a second time, in a mount namespace of its own, and run a command there."""

LISTS = """version: 1
lists:
  partners: {prefixes: [1.2.3.0/24, "2400:da00::/32"]}
  scanners: {file: scanners.txt}
corrections: {8.8.8.0/24: IR, "2600::/32": RU}
services:
  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: deny, allow: [list:partners], deny: [IR, continent:AN]}
  rest: {default: allow, unknown: allow, deny: [list:scanners, KP]}
never_drop: {prefixes: [198.41.0.0/24], ports: {tcp: [22]}}
"""
"""Everything a policy can have, so that every part of the child has work."""

Run = subprocess.CompletedProcess[str]


@pytest.fixture
def geodrop(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that runs geodrop from a copy of the tree, interpreter and libraries included, closed to all
    but root.
    """
    require()
    inner = tmp_path / "closed" / "tree"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    python = str(inner / Path(sys.executable).relative_to(ROOT))

    def run(*arguments: str, stdin: str = "") -> Run:
        there = ["unshare", "--mount", "sh", "-c", CLOSED, "sh", str(ROOT), str(inner)]
        command = ["env", f"PYTHONPATH={inner / 'agent'}", python, "-m", "geodrop", *arguments]
        return subprocess.run([*there, *command], input=stdin, capture_output=True, text=True, check=False)

    return run


def test_everything_works_from_a_closed_folder(geodrop: Callable[..., Run], tmp_path: Path) -> None:
    """Compile and explain on a real database, both shapes of policy, and a policy's problems with their positions."""
    database = str(bundled_database(tmp_path))
    lists = tmp_path / "lists.yaml"
    lists.write_text(LISTS)
    (tmp_path / "scanners.txt").write_text("1.2.4.0-1.2.5.7\n")
    for policy in (POLICIES / "ai-api-allow-list.yaml", POLICIES / "deny-list.yaml", lists):
        inputs = ["--policy", str(policy), "--database", database]
        done = geodrop("compile", *inputs, "-o", str(tmp_path / "out"))
        assert (done.returncode, done.stderr) == (0, "")
        done = geodrop("explain", *inputs, "--json", "-", stdin="8.8.8.8\n2002:808:808::1\nnonsense\n")
        assert ("Traceback" not in done.stderr, done.returncode) == (True, DataError.exit_code), done.stderr
        *answers, error = map(json.loads, done.stdout.splitlines())
        assert {answer["address"] for answer in answers} == {"8.8.8.8", "2002:808:808::1"}
        assert "error" in error
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\nservices: {api: {default: maybe, allow: [XX, list:none, 1:30]}}\n")
    done = geodrop("check", str(wrong))
    assert done.returncode == PolicyError.exit_code
    assert "wrong.yaml:2:" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_folder_is_closed(geodrop: Callable[..., Run], tmp_path: Path) -> None:
    """User nobody cannot enter the folder, so the test above tests something."""
    del geodrop
    listing = [*as_user(), "ls", str(tmp_path / "closed" / "tree")]
    assert subprocess.run(listing, check=False, capture_output=True).returncode != 0
