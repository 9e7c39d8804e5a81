# SPDX-License-Identifier: Apache-2.0
"""What a ruleset drops, in a few words."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from geodrop.ruleset.enforced import ENFORCED, EnforcedService, enforced
from tests.support.worlds import POLICY_CN, POLICY_US, compiled

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_are_those_of_the_counters(tmp_path: Path) -> None:
    """Regions, lists and prefixes have the names that the counters have; what falls to a default is one line."""
    [api] = enforced(compiled(POLICY_CN, tmp_path))
    assert api == EnforcedService("api", "enforce", None, (), ("CN",))
    [api] = enforced(compiled(POLICY_US, tmp_path))
    assert (api.lines, api.passes) == (("default", "unknown"), ("US",))
    policy = POLICY_CN.replace("[CN]", "[CN, list:bad, 9.9.9.0/24]").replace(
        "services:", "lists: {bad: {prefixes: [8.8.8.0/24]}}\nservices:"
    )
    [api] = enforced(compiled(policy, tmp_path))
    assert api.lines == ("9.9.9.0/24", "CN", "list:bad")


def test_a_region_may_be_dropped_by_default(tmp_path: Path) -> None:
    """Where default drops, a region is dropped unless it, its country or a part of it passes; a list is not."""
    [api] = enforced(compiled(POLICY_US, tmp_path))
    dropped = {line: api.drops(line) for line in ("CN", "UA-43", "US", "US-CA", "default", "list:bad", "9.9.9.0/24")}
    assert [line for line, drops in dropped.items() if drops] == ["CN", "UA-43", "default"]
    api = replace(api, passes=("US-CA",))
    assert (api.drops("US"), api.drops("US-CA"), api.drops("US-TX"), api.drops("UA")) == (False, False, True, True)
    [api] = enforced(compiled(POLICY_CN, tmp_path))
    assert (api.drops("CN"), api.drops("US"), api.drops("default")) == (True, False, False)


def test_what_a_service_lacks() -> None:
    """Less than everything is dropped in monitor, before a start, and below a share of 100%."""
    api = EnforcedService("api", "enforce", None, (), ("CN",))
    assert (api.lacks(0), api.moments()) == ("", [])
    assert replace(api, mode="monitor").lacks(0) == "monitor"
    started = replace(api, starts=100)
    assert (started.lacks(99), started.lacks(100), started.moments()) == ("before its start", "", [100])
    ramped = replace(api, ramp=((0, 0), (100, 150), (200, 10_000)))
    assert [ramped.lacks(now) for now in (99, 100, 200)] == ["share 0%", "share 1.5%", ""]
    assert ramped.moments() == [100, 200]


def test_dates_of_the_policy_are_in_it(tmp_path: Path) -> None:
    """Mode, start and ramp come from the policy."""
    [api] = enforced(compiled(f"{POLICY_CN}    starts: 1970-01-02T00:00:00Z\n    mode: monitor\n", tmp_path))
    assert (api.mode, api.starts) == ("monitor", 86_400)


def test_json(tmp_path: Path) -> None:
    """What is written is read back."""
    found = enforced(compiled(f"{POLICY_US}    share: 10%\n", tmp_path))
    assert ENFORCED(json.loads(json.dumps([*map(asdict, found)]))) == found
    assert found[0].ramp
