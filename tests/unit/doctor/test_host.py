# SPDX-License-Identifier: Apache-2.0
"""Facts of the host and of agent.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.config import Config, Source
from geodrop.dataplane.both import BothEngines
from geodrop.doctor import host
from geodrop.doctor.finding import MISSING, NOTE, OK
from geodrop.engine.api import Observed
from geodrop.errors import PrivilegeError

if TYPE_CHECKING:
    import ctypes
    from pathlib import Path

    import pytest


class Fake:
    """Stands in for BothEngines."""

    def __init__(self, observed: Observed | None) -> None:
        self.observed = observed

    def observe(self) -> Observed:
        """Return what the test gives, or raise what a caller without privilege gets."""
        if self.observed is None:
            raise PrivilegeError("CAP_NET_ADMIN is missing", "run as root")
        return self.observed


def test_places_and_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing state directory is checked by its nearest existing parent; each source file is checked by itself."""
    monkeypatch.setattr(BothEngines, "here", lambda: Fake(Observed()))
    policy = tmp_path / "policy.yaml"
    policy.touch()
    source = Source(str(policy), (str(tmp_path / "none.mmdb"),))
    found = list(host.findings(Config(source=source, state=tmp_path / "a" / "b")))
    assert [(one.status, one.found) for one in found if one.name == "state"] == [(OK, str(tmp_path / "a" / "b"))]
    assert [one.status for one in found if one.name == "source"] == [OK, MISSING]
    assert not (tmp_path / "a").exists()
    [clients] = [one for one in found if one.name == "clients"]
    assert "cannot be seen from here" in clients.cost


def test_a_state_folder_that_may_not_be_written_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a writable state directory nothing can be loaded; a missing `source` is only a note."""
    monkeypatch.setattr(BothEngines, "here", lambda: Fake(Observed()))
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    found = {one.name: one for one in host.findings(Config(state=tmp_path))}
    assert (found["state"].status, found["state"].stops) == (MISSING, ("nftables", "xdp"))
    assert found["source"].status == NOTE


def test_what_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation in force is named; a caller who may not read it is told so."""
    for observed, status, text in (
        (Observed(), OK, "the place is free"),
        (Observed(7, "ab" * 32), OK, "generation 7, ruleset abababababab"),
        (None, NOTE, "cannot be read: CAP_NET_ADMIN is missing"),
    ):
        monkeypatch.setattr(BothEngines, "here", lambda observed=observed: Fake(observed))
        [found] = [one for one in host.findings(Config(state=tmp_path)) if one.name == "in force"]
        assert found.status == status
        assert text in found.found


def test_the_clock_is_asked_and_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TIME_ERROR is a note with its cost; everything else is synchronised."""
    monkeypatch.setattr(BothEngines, "here", lambda: Fake(Observed()))

    answers = [0, host.TIME_ERROR, -1]

    class Libc:
        def adjtimex(self, buffer: ctypes.Array[ctypes.c_char]) -> int:
            assert bytes(buffer)[:4] == bytes(4), "a mode that is not 0 would set something"
            return answers.pop(0)

    monkeypatch.setattr(host, "LIBC", Libc())
    for status in (OK, NOTE, NOTE):
        [found] = [one for one in host.findings(Config(state=tmp_path)) if one.name == "clock"]
        assert found.status == status
