"""What verbs go by that must work whatever agent.yaml is like; the verbs are in tests/kernel/daemon/test_glass.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from geodrop import config as module
from geodrop.cli.glass import config_or_assumed
from geodrop.config import Config, load_config_or_assume
from geodrop.errors import ConfigError, UnavailableError


def test_a_good_one_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a word, wherever the last daemon had its state."""
    monkeypatch.setattr(module, "last_state", lambda: "/srv/other")
    (tmp_path / "agent.yaml").write_text("state: /srv/state\nengine: xdp\n")
    found = config_or_assumed(str(tmp_path / "agent.yaml"))
    assert (str(found.state), found.engine) == ("/srv/state", "xdp")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("last", ["/srv/state", ""])
def test_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: str
) -> None:
    """The place of the last daemon's state, if it is known, and a warning with the mistake; no ruleset is forgotten."""
    monkeypatch.setattr(module, "last_state", lambda: last)
    path = tmp_path / "agent.yaml"
    path.write_text("state: /srv/state\nengine: [\n")
    found = config_or_assumed(str(path))
    assert found.state == (Path(last) if last else Config().state)
    assert found.keep.count == found.keep.size == sys.maxsize
    said = capsys.readouterr().err
    assert f"{path}:" in said
    assert f"state in {found.state}, {'that of the last daemon' if last else 'its usual place'}" in said


def test_nobody_can_tell_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody put something else in the place of the daemon's file: the usual place."""

    def refuse() -> str:
        raise UnavailableError("/run/geodrop/daemon: is no plain file")

    monkeypatch.setattr(module, "last_state", refuse)
    (tmp_path / "agent.yaml").write_text("nonsense")
    assert load_config_or_assume(str(tmp_path / "agent.yaml"))[0].state == Config().state


def test_a_wrong_name_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line; a variable that was set long ago is no reason not to pause."""
    with pytest.raises(ConfigError, match="no such file"):
        load_config_or_assume(str(tmp_path / "nowhere"))
    monkeypatch.setenv("GEODROP_CONFIG", str(tmp_path / "nowhere"))
    assert "no such file" in load_config_or_assume(None)[1]
