# SPDX-License-Identifier: Apache-2.0
import pwd
from pathlib import Path

import pytest

from geodrop.compile.opening import open_database, open_policy
from geodrop.errors import ConfigError, DataError
from geodrop.state.service_user import ServiceUser
from tests.support.users import open_to_others


def test_a_right_that_is_missing(tmp_path: Path) -> None:
    """For each kind of file, a missing right gives 77 and names the user, and is of the kind that callers expect."""
    nobody = pwd.getpwnam("nobody")
    open_to_others(tmp_path)
    (tmp_path / "secret").touch(0o600)
    secret = str(tmp_path / "secret")
    with ServiceUser("nobody", nobody.pw_uid, nobody.pw_gid, ()).acting():
        with pytest.raises(ConfigError, match="secret: user nobody may not read it") as policy:
            open_policy(secret)
        with pytest.raises(DataError, match="secret: user nobody may not read it") as database:
            open_database(secret)
    assert {failure.value.exit_code for failure in (policy, database)} == {77}
