import pytest

from geodrop.cli.pause import end
from geodrop.state.store import FOREVER


@pytest.mark.parametrize(
    ("seconds", "until"), [(None, FOREVER), (1, 102), (7200, 7301), (9_999_999 * 604_800, FOREVER)]
)
def test_end(seconds: int | None, until: int) -> None:
    """Whole seconds, since engines know no others; at least as long as was asked for; without a time until resume."""
    assert end(seconds, 100.25) == until
