# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path

import pytest

from geodrop.errors import ApplyError, DataError
from geodrop.state.accepted import Acceptance, Accepted, AcceptedRulesets
from tests.support.users import NOBODY

KNOWN = AcceptedRulesets(7, {"a" * 64: Acceptance(5, "alice", "SHA256:x", 7), "b" * 64: Acceptance(3)})


def test_round_trip(tmp_path: Path) -> None:
    """What was written is read. No file is not the same as an empty one."""
    accepted = Accepted(tmp_path)
    assert accepted.read() is None
    accepted.write(KNOWN)
    assert accepted.read() == KNOWN
    accepted.write(AcceptedRulesets())
    assert accepted.read() == AcceptedRulesets()
    accepted.forget()
    accepted.forget()
    assert accepted.read() is None


def test_who_signed() -> None:
    """For people, the principal and the key; what was only in force has neither."""
    assert [one.signer for one in KNOWN.rulesets.values()] == ["alice (SHA256:x)", ""]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        json.dumps({"newest": -1, "rulesets": {}}).encode(),
        json.dumps({"newest": 0, "rulesets": {"../x": {"time": 1}}}).encode(),
        json.dumps({"newest": 0, "rulesets": {"a": {"time": 1, "principal": "\x1b"}}}).encode(),
    ],
)
def test_damaged(tmp_path: Path, content: bytes) -> None:
    """A damaged file is not taken for a missing one, with which everything would be accepted."""
    (tmp_path / "accepted.json").write_bytes(content)
    with pytest.raises(DataError, match=r"accepted.json: damaged"):
        Accepted(tmp_path).read()


def test_unreadable(tmp_path: Path) -> None:
    """Neither is one that cannot be read."""
    (tmp_path / "accepted.json").mkdir()
    with pytest.raises(DataError, match="not a regular file; look at the disk"):
        Accepted(tmp_path).read()


def test_a_later_version_may_know_more(tmp_path: Path) -> None:
    """Keys that a later version added are ignored, so that a downgrade goes on enforcing."""
    content = {"newest": 1, "more": 2, "rulesets": {"a": {"time": 1, "more": 3}}}
    (tmp_path / "accepted.json").write_text(json.dumps(content))
    assert Accepted(tmp_path).read() == AcceptedRulesets(1, {"a": Acceptance(1)})


def test_it_cannot_be_written(tmp_path: Path) -> None:
    """The caller is told before it changes the kernel."""
    (tmp_path / "file").touch()
    with pytest.raises(ApplyError):
        Accepted(tmp_path / "file").write(KNOWN)


def test_owner(tmp_path: Path) -> None:
    """Root writes it for the daemon's user, who owns the folder and has to replace it."""
    os.chown(tmp_path, NOBODY, NOBODY)
    Accepted(tmp_path).write(KNOWN)
    assert (tmp_path / "accepted.json").stat().st_uid == NOBODY
