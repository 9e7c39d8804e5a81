# SPDX-License-Identifier: Apache-2.0
"""The demo runs real verbs and passes their failures on unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop import errors
from geodrop.demo.verbs import DemoVerbs, error_of
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Here:
    """Stands in for a namespace: commands run in this one."""

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command unchanged."""
        return list(command)


@pytest.fixture
def verbs(tmp_path: Path) -> DemoVerbs:
    """Verbs that run in a temporary folder, without a namespace."""
    (tmp_path / "agent.yaml").write_text("engine: auto\n")
    return DemoVerbs(tmp_path, Here())


@pytest.mark.parametrize(
    "kind",
    [errors.DataError, errors.UnavailableError, errors.BusyError, errors.PrivilegeError, errors.ConfigError],
)
def test_an_exit_code_becomes_the_error_it_stands_for(kind: type[errors.GeodropError]) -> None:
    """The demo ends with the exit code of the failed verb."""
    assert error_of(kind.exit_code) is kind


def test_a_bug_in_a_verb_is_a_failure() -> None:
    """An exit code without an error class ends the demo with 1."""
    assert error_of(errors.EXIT_BUG) is errors.ApplyError


def test_a_failing_verb_says_why(verbs: DemoVerbs) -> None:
    """The message names the command and holds its stderr."""
    with pytest.raises(errors.DataError, match=r"`geodrop explain .*` failed: .*missing.ruleset"):
        verbs.run("explain", "--ruleset", "missing.ruleset", "192.0.2.1")


def test_explain_pairs_answers_with_addresses(verbs: DemoVerbs) -> None:
    """Addresses go in on stdin, objects come out in the same order."""
    (verbs.folder / "p.yaml").write_text(
        "version: 1\nservices:\n  all: {default: deny, unknown: deny, allow: [8.8.8.0/24]}\n"
    )
    database = verbs.folder / "d.mmdb"
    write_database(database, {"1.0.0.0/8": country("CN")})
    answers = verbs.explain(["8.8.8.8", "1.2.3.4"], "--policy", "p.yaml", "--database", "d.mmdb")
    assert [(one["address"], one["verdict"]) for one in answers] == [("8.8.8.8", "accept"), ("1.2.3.4", "drop")]
