# SPDX-License-Identifier: Apache-2.0
"""The settings of verbs that must work with a damaged agent.yaml; tests/kernel/daemon/test_glass.py tests the verbs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from geodrop import config as module
from geodrop.cli.glass import config_or_assumed
from geodrop.config import Config, load_config_or_assume
from geodrop.errors import ConfigError, UnavailableError
from geodrop.state.intent import Intent
from geodrop.state.store import Store


def test_a_good_one_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A good agent.yaml applies without a warning, wherever the last daemon had its state."""
    monkeypatch.setattr(module, "last_state", lambda: "/srv/other")
    (tmp_path / "agent.yaml").write_text("state: /srv/state\nengine: xdp\n")
    found = config_or_assumed(str(tmp_path / "agent.yaml"))
    assert (str(found.state), found.engine) == ("/srv/state", "xdp")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("last", ["/srv/state", ""])
def test_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], last: str
) -> None:
    """The last daemon's state directory is used, if known, with a warning that names the mistake; rulesets are kept."""
    monkeypatch.setattr(module, "last_state", lambda: last)
    path = tmp_path / "agent.yaml"
    path.write_text("state: /srv/state\nengine: [\n")
    found = config_or_assumed(str(path))
    assert found.state == (Path(last) if last else Config().state)
    assert found.keep.count == found.keep.size == sys.maxsize
    said = capsys.readouterr().err
    assert f"{path}:" in said
    assert f"state in {found.state}, {'that of the last daemon' if last else 'its usual place'}" in said


def test_the_record_of_the_state_directory_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file is in the place of the daemon's record, so the usual place is assumed."""

    def refuse() -> str:
        raise UnavailableError("/run/geodrop/daemon: is no plain file")

    monkeypatch.setattr(module, "last_state", refuse)
    (tmp_path / "agent.yaml").write_text("nonsense")
    assert load_config_or_assume(str(tmp_path / "agent.yaml"))[0].state == Config().state


def test_a_wrong_name_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path on the command line is an error; one in a variable set long ago must not prevent a pause."""
    with pytest.raises(ConfigError, match="no such file"):
        load_config_or_assume(str(tmp_path / "nowhere"))
    monkeypatch.setenv("GEODROP_CONFIG", str(tmp_path / "nowhere"))
    assert "no such file" in load_config_or_assume(None)[1]


def asked_for(state: Path, **intent: object) -> None:
    """Write what the last load leaves behind."""
    Store(state).remember(Intent(**intent))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep: {rulesets: 1}\ninterfaces: [eth1]\nengine: nftables\n", "1:18: error: rulesets of keep"),
        ("interfaces: ['a b', eth1]\nengine: ebpf\n", "error: entry of interfaces"),
        ("interfacs: [eth1]\n", "did you mean"),
    ],
)
def test_where_to_judge_is_as_at_the_last_load(tmp_path: Path, text: str, said: str) -> None:
    """Interfaces and engine are those of the last load; state and first_boot are taken from the damaged file."""
    asked_for(tmp_path / "state", interfaces=("eth0", "!wan*"), engine="xdp")
    path = tmp_path / "agent.yaml"
    path.write_text(f"{text}state: {tmp_path / 'state'}\nfirst_boot: closed\n")
    found, doubt = load_config_or_assume(str(path))
    assert (found.interfaces, found.engine) == (("eth0", "!wan*"), "xdp")
    assert (found.state, found.first_boot) == (tmp_path / "state", "closed")
    assert said in doubt
    assert f"state in {tmp_path / 'state'}, as it says" in doubt


@pytest.mark.parametrize(("text", "expected"), [("[eth1]", ("eth1",)), ("['a b', eth1]", ()), ("[]", ())])
def test_where_to_judge_if_nothing_is_remembered(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    """The names in the file are used only if all of them can be read: half a list would leave an interface out."""
    path = tmp_path / "agent.yaml"
    path.write_text(f"engine: ebpf\ninterfaces: {text}\nstate: {tmp_path / 'state'}\n")
    found, _ = load_config_or_assume(str(path))
    assert (found.interfaces, found.engine) == (expected, "auto")


def test_a_key_that_is_there_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key given twice, nothing of the file is used, because either value may be meant."""
    monkeypatch.setattr(module, "last_state", lambda: str(tmp_path / "last"))
    path = tmp_path / "agent.yaml"
    path.write_text(f"state: {tmp_path / 'a'}\nstate: {tmp_path / 'b'}\n")
    assert load_config_or_assume(str(path))[0].state == tmp_path / "last"


def test_the_usual_file_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file gives no warning: not every host has one. What was loaded by hand stays on its interfaces."""
    monkeypatch.delenv("GEODROP_CONFIG", raising=False)
    monkeypatch.setattr(module, "DEFAULT_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(module, "last_state", lambda: str(tmp_path / "last"))
    asked_for(tmp_path / "last", interfaces=("eth0",), engine="nftables")
    found, doubt = load_config_or_assume(None)
    assert (found.interfaces, found.engine, doubt) == (("eth0",), "nftables", "")


def test_a_boot_takes_no_name_for_a_slip(tmp_path: Path) -> None:
    """At a boot no operator is there to correct a mistyped name."""
    assert "no such file" in load_config_or_assume(str(tmp_path / "nowhere"), slips=False)[1]
