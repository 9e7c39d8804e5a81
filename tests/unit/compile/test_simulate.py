# SPDX-License-Identifier: Apache-2.0
"""The task of the child: which service, and what is said where no line can be read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.compile.simulate import simulate
from geodrop.errors import DataError, UsageError
from geodrop.ruleset.model import Ruleset
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    from pathlib import Path

POLICY = "version: 1\nservices:\n  api: {default: allow, unknown: allow, deny: [IR]}\n"
OPTIONS: dict[str, Any] = {"service": None, "field": None, "json": False, "progress": False}


@pytest.fixture
def ruleset(tmp_path: Path) -> Ruleset:
    """Return a ruleset with one service."""
    return Ruleset.open(
        Geodrop(tmp_path).compile(POLICY, write_database(tmp_path / "d.mmdb", {"1.0.0.0/8": country("IR")}))
    )


def run(ruleset: Ruleset, path: Path, content: bytes, **options: Any) -> int:  # noqa: ANN401 - options of any type
    """Simulate a log with this content."""
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return simulate(ruleset, None, [("log", descriptor)], OPTIONS | options)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("content", "step"),
    [
        (b"\n", "name a log"),
        ("1.0.0.1\n".encode("utf-16"), "UTF-16"),
        (b'{"address": "1.0.0.1"}\n', "--field"),
        (b"nothing\n" * 3, "nginx"),
    ],
)
def test_nothing_to_read(ruleset: Ruleset, tmp_path: Path, content: bytes, step: str) -> None:
    """A log without one readable line is refused, with what may help."""
    with pytest.raises(DataError) as caught:
        run(ruleset, tmp_path / "log", content)
    assert step in caught.value.next_step


def test_unknown_service(ruleset: Ruleset, tmp_path: Path) -> None:
    """The services that there are get named."""
    with pytest.raises(UsageError) as caught:
        run(ruleset, tmp_path / "log", b"1.0.0.1\n", service="web")
    assert "api" in caught.value.next_step
