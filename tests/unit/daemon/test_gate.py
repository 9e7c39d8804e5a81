# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from geodrop.compile.change import compare
from geodrop.config import Config
from geodrop.daemon import gate
from geodrop.daemon.gate import Asker, look, not_accepted, refuse_held
from geodrop.dataplane.both import BothEngines
from geodrop.engine.api import Observed
from geodrop.errors import DataError, HeldError, OutdatedError
from geodrop.operations.in_force import RulesetInForce
from geodrop.state.entry import ChangeRequest
from tests.support.worlds import POLICY_CN, compiled

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset

REQUEST = ChangeRequest("reload", 0)
ANYBODY = Asker(REQUEST, ssh="9.9.9.9 1 192.0.2.1 22")


@pytest.fixture
def old(tmp_path: Path) -> Ruleset:
    """What is in force."""
    return compiled(POLICY_CN, tmp_path)


@pytest.fixture
def new(tmp_path: Path) -> Ruleset:
    """What would be held."""
    return compiled(POLICY_CN.replace("[CN]", "[CN, RU]"), tmp_path)


def refuse(old: Ruleset, new: Ruleset, *askers: Asker, reason: str = "") -> None:
    """Judge a change for these users."""
    refuse_held(new, compare(old, new), RulesetInForce(7, old), reason, askers)


def test_it_is_held_and_it_is_accepted(old: Ruleset, new: Ruleset) -> None:
    """A limit holds a change for everybody who shares the reload, unless one of them accepts exactly its bytes."""
    accepting, other = (Asker(REQUEST, digest[:12]) for digest in (new.digest, old.digest))
    with pytest.raises(HeldError, match="generation 7 stays") as caught:
        refuse(old, new, ANYBODY, other)
    assert [one["limit"] for one in caught.value.held] == ["blast_radius"]
    refuse(old, new, ANYBODY, accepting)
    refuse(old, new, Asker(REQUEST, new.digest))


def test_nothing_but_what_was_accepted(old: Ruleset, new: Ruleset) -> None:
    """Where nothing is held, a user who accepts other bytes gets none; with others who just ask, they get theirs."""
    other = Asker(REQUEST, "0" * 12)
    with pytest.raises(HeldError, match="000000000000 was accepted"):
        refuse(new, old, other)
    refuse(new, old, other, ANYBODY)
    assert not_accepted("0" * 64, new.digest).exit_code == 5


def test_what_cannot_be_compared(old: Ruleset, new: Ruleset) -> None:
    """A change against something that cannot be read is held, with the reason; where nothing is in force none is."""
    with pytest.raises(HeldError, match=r"is not known \(it is gone\)"):
        refuse_held(new, None, RulesetInForce(), "it is gone", [ANYBODY])
    for nothing in (RulesetInForce(), RulesetInForce(7, digest=old.digest)):
        refuse_held(new, None, nothing, "", [ANYBODY])
    refuse(old, old, ANYBODY)
    refuse_held(new, None, RulesetInForce(7, digest=new.digest), "it is gone", [ANYBODY])


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(DataError("x: damaged"), "x: damaged"), (OutdatedError("x: ruleset format 2 is no longer read"), "")],
)
def test_an_upgrade_is_not_held(monkeypatch: pytest.MonkeyPatch, failure: DataError, expected: str) -> None:
    """A ruleset of an earlier format cannot be compared, and holds nothing; a damaged one does."""

    def fail(_: Config) -> RulesetInForce:
        raise failure

    monkeypatch.setattr(gate, "read_in_force", fail)
    monkeypatch.setattr(BothEngines, "here", lambda: SimpleNamespace(observe=lambda: Observed(7, "d1")))
    assert look(Config()) == (RulesetInForce(7, digest="d1"), expected)
