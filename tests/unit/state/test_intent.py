# SPDX-License-Identifier: Apache-2.0
import json
from typing import Any

import pytest

from geodrop import formats
from geodrop.ruleset.fields import Invalid
from geodrop.state.intent import CORE, INTENT, Intent, intent_of_file, stored

NEWER = formats.INTENT.number + 1
FUTURE: dict[str, Any] = {
    "format": NEWER,
    "generation": 12,
    "last_good": "ab",
    "unloaded": False,
    "paused": 5,
    "why": "INC-1",
    "digest": {"what": "this means is not known"},
    "plans": [1],
}


def test_what_is_stored_is_read_back() -> None:
    """An intent is stored with the number of its format, and without what is only known of a file."""
    intent = Intent(3, "ab", paused=7, why="x" * 9, last_good="cd", unknown="y", newer=9)
    content = json.loads(json.dumps(stored(intent)))
    assert content["format"] == formats.INTENT.number
    assert not {"unknown", "newer"} & content.keys()
    assert INTENT(content) == Intent(3, "ab", paused=7, why="x" * 9, last_good="cd")


def test_a_file_without_a_number_may_lack_keys() -> None:
    """Format 1 has no number, and was written by versions that knew less: what was loaded last is the last good one."""
    assert intent_of_file({"generation": 3, "digest": "ab", "unloaded": True}) == Intent(
        3, "ab", unloaded=True, last_good="ab"
    )
    with pytest.raises(Invalid, match="has no"):
        intent_of_file({"format": 2, "generation": 3, "digest": "ab", "unloaded": True})


def test_of_a_newer_file_the_core_is_read() -> None:
    """What each format says is enough for a boot and a pause; whatever the kernel holds counts as begun."""
    found = intent_of_file(FUTURE)
    assert found == Intent(12, "ab", paused=5, why="INC-1", last_good="ab", begun=12, newer=NEWER)
    assert not found.unknown


@pytest.mark.parametrize("name", CORE)
def test_a_newer_file_without_its_core_is_unknown(name: str) -> None:
    """Then it may say anything: but it still is a newer file, which nothing replaces."""
    found = intent_of_file({key: value for key, value in FUTURE.items() if key != name})
    assert (found.newer, found.unknown) == (NEWER, f"was written by a newer geodrop, format {NEWER}")


@pytest.mark.parametrize("number", [0, -1, "2", None, 2.0, True, 1 << 40])
def test_a_number_that_is_none_is_damage(number: object) -> None:
    """Only a whole number says that a file is newer."""
    with pytest.raises(Invalid):
        intent_of_file(FUTURE | {"format": number})


def test_a_pause_ends_by_the_clock() -> None:
    """A pause ends at its second: that moment is no longer paused."""
    intent = Intent(paused=100)
    assert intent.paused_at(99.9)
    assert not intent.paused_at(100)
