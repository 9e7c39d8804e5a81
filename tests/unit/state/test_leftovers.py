# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.state import leftovers, places

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_only_states_of_earlier_boots_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The states of this boot's namespaces stay, and so does the machine's own state."""
    boot = tmp_path / "boot_id"
    boot.write_text("0123abcd-e4d6-4f9a\n")
    monkeypatch.setattr(places, "BOOT", str(boot))
    monkeypatch.setattr(places, "STATE", str(tmp_path))
    monkeypatch.setattr(places, "RUN", str(tmp_path / "run"))
    names = ("0123abcd-7", "89ab0123-7", "4711")
    for name in names:
        (tmp_path / "netns" / name / "rulesets").mkdir(parents=True)
        (tmp_path / "netns" / name / "intent.json").write_text("{}")
    (tmp_path / "intent.json").write_text("{}")
    leftovers.remove_leftovers()
    assert {path.name for path in (tmp_path / "netns").iterdir()} == {"0123abcd-7"}
    assert (tmp_path / "netns/0123abcd-7/intent.json").exists()
    assert (tmp_path / "intent.json").exists()


def test_where_there_are_none_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host where no other namespace was used there is no such folder, and nothing fails."""
    monkeypatch.setattr(places, "STATE", str(tmp_path / "none"))
    leftovers.remove_leftovers()
    assert list(tmp_path.iterdir()) == []


def test_no_link_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the state directory cannot make root remove files elsewhere by a link."""
    precious = tmp_path / "home" / "user" / "letter"
    precious.parent.mkdir(parents=True)
    precious.touch()
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setattr(places, "STATE", str(state))
    (state / "netns").symlink_to(tmp_path / "home")
    leftovers.remove_leftovers()
    (state / "netns").unlink()
    (state / "netns").mkdir()
    (state / "netns" / "89ab0123-7").symlink_to(precious.parent)
    leftovers.remove_leftovers()
    assert precious.exists()
