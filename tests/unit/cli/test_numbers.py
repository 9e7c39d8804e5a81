# SPDX-License-Identifier: Apache-2.0
import argparse

import pytest

from geodrop.cli.numbers import duration, positive


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("90s", 90), ("30m", 1800), ("2h", 7200), ("3d", 259_200), ("1w", 604_800)]
)
def test_duration(text: str, seconds: int) -> None:
    """A duration is a number and one unit."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "-1h", "1.5h", "2 h", "2H", "1h30m", "99999999s", "٣h"])
def test_no_duration(text: str) -> None:
    """Any other text is refused with an example."""
    with pytest.raises(argparse.ArgumentTypeError, match="write for instance"):
        duration(text)


def test_positive() -> None:
    """Numbers from 1 on are accepted."""
    assert positive("12") == 12
    for text in ("0", "-1", "x", "", "1.0", "²"):
        with pytest.raises(argparse.ArgumentTypeError):
            positive(text)
