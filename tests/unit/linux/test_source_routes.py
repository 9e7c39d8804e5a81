# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.linux import source_routes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("everywhere", "here", "expected"), [("1", "1", ["eth0"]), ("0", "1", []), ("1", "0", []), ("0", "0", [])]
)
def test_both_must_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everywhere: str, here: str, expected: list[str]
) -> None:
    """As the kernel does: the setting of the interface, and that of all; an interface that is gone accepts nothing."""
    for name, value in (("all", everywhere), ("eth0", here)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "accept_source_route").write_text(f"{value}\n")
    monkeypatch.setattr(source_routes, "SETTINGS", tmp_path)
    assert source_routes.accepting(["eth0", "gone"]) == expected


def test_what_cannot_be_read_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of, and not passed over."""
    for name in ("all", "eth0"):
        (tmp_path / name / "accept_source_route").mkdir(parents=True)
    monkeypatch.setattr(source_routes, "SETTINGS", tmp_path)
    assert source_routes.accepting(["eth0"]) == ["eth0"]
