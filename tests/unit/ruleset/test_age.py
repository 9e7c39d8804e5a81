# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from geodrop.ruleset.age import DAY, too_old
from geodrop.ruleset.model import Input
from tests.unit.ruleset.test_model import META

NOW = 1_700_000_000
DATABASES = (
    Input("policy", "policy.yaml", "0" * 64),
    Input("database", "new.mmdb", "1" * 64, "Country", NOW - 10 * DAY),
    Input("database", "old.mmdb", "2" * 64, "Country", NOW - 50 * DAY),
)


@pytest.mark.parametrize(
    ("limit", "found"), [(None, []), (60, []), (50, []), (45, ["old.mmdb"]), (1, ["new.mmdb", "old.mmdb"])]
)
def test_too_old(limit: int | None, found: list[str]) -> None:
    """Each database that is older than the policy allows is named; without a limit, none is."""
    meta = replace(META, inputs=DATABASES, database_age=None if limit is None else limit * DAY)
    problems = too_old(meta, NOW)
    assert [problem.split()[0] for problem in problems] == found
    assert all("days ago" in problem for problem in problems)
