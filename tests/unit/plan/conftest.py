# SPDX-License-Identifier: Apache-2.0
"""Rulesets of a small world, for tests of plans: CN, US and RU have a /8 and an IPv6 /16 each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.compile.change import compare
from geodrop.ruleset.model import Ruleset
from tests.support.worlds import WORLD, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from geodrop.ruleset.difference import RulesetDiff

    Compile = Callable[..., Ruleset]

POLICY = """\
version: 1
services:
  api:
    match: {ports: {tcp: [443, 2222]}}
    default: allow
    unknown: allow
    deny: [CN]
"""


@pytest.fixture
def ruleset(tmp_path: Path) -> Compile:
    """Return a function that compiles a policy, by default POLICY; its ruleset can be given to a child."""

    def compiled(policy: str = POLICY, world: Mapping[str, Any] = WORLD) -> Ruleset:
        path = tmp_path / "made.ruleset"
        path.write_bytes(packed(policy, tmp_path, world))
        return Ruleset.open(path)

    return compiled


def differ(old: Ruleset | None, new: Ruleset) -> RulesetDiff:
    """Return what differs, as the compile child finds it."""
    return compare(old, new)
