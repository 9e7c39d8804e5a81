# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import TYPE_CHECKING

from geodrop.compile.checked import say
from geodrop.ruleset.model import Input
from tests.unit.compile.worlds import policy, service

if TYPE_CHECKING:
    import pytest

INPUTS = [
    Input("policy", "policy.yaml", "0" * 64),
    Input("database", "country.mmdb", "1" * 64, "GeoLite2-Country", 1_720_483_200),
]


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for the policy, one for each database, and one for what a first load would drop."""
    say(policy(service(deny=["UA"]), service("web", port=80)), INPUTS, "api drops UA", as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "policy.yaml: good, 1 line for services api, web",
        "country.mmdb: good, GeoLite2-Country, built 2024-07-09",
        "where nothing is in force: api drops UA; no limit holds that",
    ]


def test_object(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as an object."""
    say(policy(service(deny=["UA"])), INPUTS, None, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["first"]) == (["policy.yaml", "country.mmdb"], None)
