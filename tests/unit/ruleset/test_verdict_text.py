# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from geodrop.ruleset.verdict_text import deciding, dropped, reservation
from tests.unit.ruleset.test_explained import ANSWER, EXEMPTED


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"rung": "country", "line": "CN"}, "api denies CN (policy.yaml:38)"),
        ({"rung": "country", "line": "CN", "would_drop": False}, "api allows CN (policy.yaml:38)"),
        ({}, "no line of api allows it (default: deny, policy.yaml:38)"),
        ({"place": None}, "no line of api allows it (default: deny)"),
    ],
)
def test_which_line_decides(changed: dict[str, Any], text: str) -> None:
    """The line with its place, as far as it is known, and what it does."""
    assert deciding(ANSWER | changed) == text


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, ""),
        ({"share": 1_000}, "; 10% of such sources are dropped"),
        ({"share": 10_000}, ""),
        ({"verdict": "accept", "share": 0, "mode": "monitor"}, "; but api drops nothing yet (ramp)"),
        ({"verdict": "accept", "mode": "monitor"}, "; but api only counts (mode: monitor)"),
        ({"verdict": "accept", "would_drop": False, "share": 1_000}, ""),
    ],
)
def test_what_else_has_to_be_said(changed: dict[str, Any], text: str) -> None:
    """Of many sources in a ramp a share is dropped; otherwise it is said why a packet passes."""
    assert reservation(ANSWER | changed) == text


def test_what_is_dropped_without_an_exemption() -> None:
    """An exempt address counts as dropped if it would be, and not if the ramp lets it pass."""
    exempt = ANSWER | {"verdict": "accept", "exempted": EXEMPTED}
    assert dropped(ANSWER)
    assert dropped(exempt)
    assert not dropped(exempt | {"bucket": 5, "share": 5})
    assert not dropped(exempt | {"mode": "monitor"})
