# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest

from geodrop.state.asker import MAX_NAME, is_name, sudo_user


@pytest.mark.parametrize(("uid", "known"), [(0, "alice"), (1000, "")])
def test_only_root_is_believed(monkeypatch: pytest.MonkeyPatch, uid: int, known: str) -> None:
    """A user who is not root may have written the variable himself."""
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert sudo_user() == known


def test_without_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root has logged in as root."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert sudo_user() == ""


@pytest.mark.parametrize("name", ["", "a b", "x\ny", "\x1b[2K", "x" * (MAX_NAME + 1), 7, None])
def test_what_is_no_name(name: object) -> None:
    """Such text would only be there to mislead who reads the history."""
    assert not is_name(name)


@pytest.mark.parametrize("name", ["alice", "EXAMPLE\\alice", "al.ice-2", "x" * MAX_NAME])
def test_names(name: str) -> None:
    """Those of directories too."""
    assert is_name(name)
