# SPDX-License-Identifier: Apache-2.0
import os
import pwd
from pathlib import Path

import pytest

from geodrop.state.service_user import ServiceUser, service_user

NOBODY = pwd.getpwnam("nobody")


def test_who_owns_the_state(tmp_path: Path) -> None:
    """The daemon's user is the owner of its state directory."""
    os.chown(tmp_path, NOBODY.pw_uid, NOBODY.pw_gid)
    found = service_user(tmp_path)
    assert (found.name, found.uid, found.gid) == ("nobody", NOBODY.pw_uid, NOBODY.pw_gid)


def test_before_there_is_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is a state, it is the user that an installation makes, or else the current user."""
    known = {"geodrop": NOBODY}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: known[name])
    assert service_user(tmp_path / "none").uid == NOBODY.pw_uid
    known.clear()
    assert service_user(tmp_path / "none").uid == os.geteuid()
    os.chown(tmp_path, 3_999_999, 3_999_999)
    assert service_user(tmp_path).name == "3999999"


def test_acting(tmp_path: Path) -> None:
    """Meanwhile root lacks the rights that the user lacks; afterwards, also after an error, root has them again."""
    closed = tmp_path / "closed"
    closed.write_text("x")
    closed.chmod(0o600)
    groups = os.getgroups()
    user = ServiceUser("nobody", NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,))
    with pytest.raises(PermissionError), user.acting():
        closed.read_text()
    assert closed.read_text() == "x"
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)
