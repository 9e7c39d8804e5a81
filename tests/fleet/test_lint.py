# SPDX-License-Identifier: Apache-2.0
"""The collection is what galaxy.yml, its arguments and ansible-lint's production profile want."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from geodrop import __version__
from tests.fleet.hosts import COLLECTION
from tests.system.machine import BUILD, REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

ROLE = COLLECTION / "roles/geodrop"
PLAYS = {"geodrop_policy", "geodrop_databases", "geodrop_sign", "geodrop_hosts", "geodrop_serial", "geodrop_folder"}
"""Variables of the playbooks, which the role does not have."""


def read(path: Path) -> Any:  # noqa: ANN401 - whatever YAML has
    """Return a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.fleet
def test_ansible_lint_has_nothing_to_say(tmp_path: Path) -> None:
    """Profile production, with a reason beside each exception."""
    tools = BUILD / "fleet-lint/bin"
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [str(tools / "ansible-lint"), "--offline", "--nocolor"],
        cwd=COLLECTION, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Profile 'production' was required, and it passed" in done.stdout + done.stderr


def test_each_argument_has_its_default() -> None:
    """defaults/main.yml and each entry point of argument_specs.yml have the same names and values."""
    defaults = read(ROLE / "defaults/main.yml")
    specs = read(ROLE / "meta/argument_specs.yml")["argument_specs"]
    assert specs.keys() == {"main", "ruleset", "verify"}
    for entry, spec in specs.items():
        assert {name: option["default"] for name, option in spec["options"].items()} == defaults, entry
        assert (ROLE / f"tasks/{entry}.yml").is_file()


def test_each_variable_is_told() -> None:
    """docs/fleet.md has every variable with its default, and no other."""
    rows = re.findall(r"^\| `(geodrop_\w+)` \| (.*?) \|", (REPOSITORY / "docs/fleet.md").read_text(), re.MULTILINE)
    defaults = read(ROLE / "defaults/main.yml")
    assert {name for name, _ in rows} == defaults.keys() | PLAYS
    for name, said in rows:
        if re.fullmatch(r"\d+|`\w+`", said) and name not in PLAYS:
            assert said.strip("`") == str(defaults[name]), name


def test_the_collection_needs_no_other() -> None:
    """Every module is one of ansible.builtin, and the version is geodrop's."""
    galaxy = read(COLLECTION / "galaxy.yml")
    assert (galaxy["namespace"], galaxy["name"], galaxy["dependencies"]) == ("geodrop", "edge", {})
    assert galaxy["version"] == __version__
    for path in (*ROLE.glob("tasks/*.yml"), *COLLECTION.glob("playbooks/*.yml")):
        used = set(re.findall(r"^ +(?:- )?([a-z_]+\.[a-z_]+\.[a-z_]+):", path.read_text(), re.MULTILINE))
        assert {name for name in used if not name.startswith("ansible.builtin.")} == set(), path.name
