# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from geodrop.formats import RULESET
from geodrop.ruleset.upgrade import upgraded

OLD: dict[str, Any] = {"rows": [{"verdict": "drop"}], "services": [{"name": "api"}], "compiler": "x"}


def test_format_2_gets_what_it_lacks() -> None:
    """Lines are not known, and no region is counted separately; the rest stays."""
    assert upgraded(OLD, RULESET.before) == {
        "rows": [{"at": 0, "verdict": "drop"}],
        "services": [{"counted": [], "name": "api"}],
        "compiler": "x",
    }


def test_nothing_is_replaced() -> None:
    """What is there is not written over, whatever number the file has, and this release's form stays as it is."""
    full = {"rows": [{"at": 7}], "services": [{"counted": [1]}]}
    assert upgraded(full, RULESET.before) == full
    assert upgraded(OLD, RULESET.number) is OLD


@pytest.mark.parametrize("content", [[], None, {}, {"rows": 7, "services": {}}, {"rows": [7, None], "services": [[]]}])
def test_what_is_no_ruleset_stays_that(content: object) -> None:
    """Damage is left for the check that follows."""
    assert upgraded(content, RULESET.before) == content
