# SPDX-License-Identifier: Apache-2.0
import pytest

from geodrop.cli.pause import end
from geodrop.state.intent import FOREVER


@pytest.mark.parametrize(
    ("seconds", "until"), [(None, FOREVER), (1, 102), (7200, 7301), (9_999_999 * 604_800, FOREVER)]
)
def test_end(seconds: int | None, until: int) -> None:
    """The end is in whole seconds, as engines need it, and never too early; without a duration there is no end."""
    assert end(seconds, 100.25) == until
