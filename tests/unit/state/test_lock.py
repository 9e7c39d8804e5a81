# SPDX-License-Identifier: Apache-2.0
import fcntl
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from geodrop.errors import BusyError, PrivilegeError, UnavailableError
from geodrop.state import lock
from tests.support.users import as_user, open_to_others


@pytest.fixture(autouse=True)
def _own_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "lock_file", lambda: str(tmp_path / "run" / "lock"))
    monkeypatch.setattr(lock, "daemon_file", lambda: str(tmp_path / "run" / "daemon"))


def test_second_holder_is_told_who_has_it() -> None:
    """While one process holds the lock, another gets BusyError (75) that names the holder."""
    with lock.exclusive(), pytest.raises(BusyError, match=f"pid {os.getpid()}"), lock.exclusive():
        pytest.fail("two holders")


def test_lock_is_free_afterwards() -> None:
    """The lock can be taken again and again, also after an error."""
    with pytest.raises(KeyError), lock.exclusive():
        raise KeyError
    with lock.exclusive():
        pass


def test_killed_holder_frees_the_lock() -> None:
    """Kill -9 of the holder leaves no lock behind."""
    ready = multiprocessing.Event()

    def hold() -> None:
        with lock.exclusive():
            ready.set()
            multiprocessing.Event().wait(30)

    holder = multiprocessing.get_context("fork").Process(target=hold)
    holder.start()
    assert ready.wait(10)
    with pytest.raises(BusyError), lock.exclusive():
        pytest.fail("two holders")
    holder.kill()
    holder.join()
    with lock.exclusive():
        pass


def test_a_daemon_is_found_by_its_file(tmp_path: Path) -> None:
    """While a daemon holds the lock, its file names its socket, and a second process is told to ask the daemon."""
    assert lock.control_socket() == ""
    with lock.exclusive(tmp_path / "c.sock", tmp_path):
        assert lock.control_socket() == str(tmp_path / "c.sock")
        with (
            pytest.raises(BusyError, match=f"daemon .pid {os.getpid()}. has the dataplane; .*geodrop reload"),
            lock.exclusive(),
        ):
            pytest.fail("two holders")
        assert lock.control_socket() == str(tmp_path / "c.sock")
    assert lock.control_socket() == ""
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"boot", "lock", "daemon"}


def test_where_its_state_is_stays_known(tmp_path: Path) -> None:
    """The state directory stays known after a daemon stopped or was killed, until the next daemon replaces it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with lock.exclusive(tmp_path / "c.sock", tmp_path / "one"):
        pass
    for _ in range(2):
        assert lock.last_state() == str(tmp_path / "one")
        with lock.exclusive():
            assert lock.last_state() == str(tmp_path / "one")
    with lock.exclusive(tmp_path / "c.sock", tmp_path / "two"):
        assert lock.last_state() == str(tmp_path / "two")


def test_a_killed_daemon_answers_nowhere_once_the_lock_is_taken(tmp_path: Path) -> None:
    """A killed daemon's socket stays in its file until another process takes the lock; connecting to it fails."""
    with lock.exclusive():
        (tmp_path / "run" / "daemon").write_text(f"pid 1\n/run/c.sock\n{tmp_path}\n")
        assert lock.control_socket() == "/run/c.sock"
    with lock.exclusive():
        assert lock.control_socket() == ""
        assert lock.last_state() == str(tmp_path)


@pytest.mark.root
def test_a_user_names_no_folder_of_another_user(tmp_path: Path) -> None:
    """Root uses the state directory in the daemon's file, so a user's file may only name a folder of that user."""
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other, tmp_path / "run"):
        folder.mkdir()
    os.chown(own, 65534, 65534)
    path = tmp_path / "run" / "daemon"
    for state, known in ((own, str(own)), (other, ""), (tmp_path / "nowhere", "")):
        path.write_text(f"pid 1\n/run/c.sock\n{state}\n")
        os.chown(path, 65534, 65534)
        assert lock.last_state() == known


def test_everybody_may_find_the_daemon_and_nobody_else_may_lock(tmp_path: Path) -> None:
    """Whatever the umask, every user can read the daemon's file, and only owner and group can open the lock."""
    for mask in (0o077, 0o000):
        before = os.umask(mask)
        try:
            with lock.exclusive(tmp_path / "c.sock"):
                found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
                assert found == {"boot": 0o644, "lock": 0o660, "daemon": 0o644}
                assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
        finally:
            os.umask(before)


def test_a_lock_that_was_open_to_others_is_replaced(tmp_path: Path) -> None:
    """A lock file that others can open is replaced; while another process locks it, the error names the file."""
    path = tmp_path / "run" / "lock"
    path.parent.mkdir()
    path.touch(0o644)
    path.chmod(0o644)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=f"remove {path}"), lock.exclusive():
            pytest.fail("two holders")
        fcntl.flock(held, fcntl.LOCK_UN)
        with lock.exclusive():
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        fcntl.flock(held, fcntl.LOCK_EX)
        with lock.exclusive():
            pass


def test_a_lock_that_was_removed_holds_nobody_up(tmp_path: Path) -> None:
    """A process that has locked a file without a name takes the new file: two processes never both hold the lock."""
    path = tmp_path / "run" / "lock"
    with lock.exclusive():
        path.rename(tmp_path / "old")
        with lock.exclusive(), pytest.raises(BusyError), lock.exclusive():
            pytest.fail("two holders")


@pytest.mark.parametrize("name", ["lock", "daemon"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "second name"])
def test_nothing_but_a_plain_file_is_opened(tmp_path: Path, name: str, kind: str) -> None:
    """Anything but a plain file is refused without waiting, and the target of a link stays as it was."""
    folder, precious = tmp_path / "run", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("precious")
    path = folder / name
    match kind:
        case "link":
            path.symlink_to(precious)
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            os.link(precious, path)
    wrong = pytest.raises(UnavailableError, match=f"{path}: is no plain file")
    if name == "daemon":
        with wrong:
            lock.control_socket()
    if name == "daemon" and kind != "folder":
        with lock.exclusive(tmp_path / "c.sock"):
            assert lock.control_socket() == str(tmp_path / "c.sock")
    else:
        with wrong, lock.exclusive():
            pytest.fail("locked")
    assert precious.read_text() == "precious"


@pytest.mark.root
def test_a_user_without_rights(tmp_path: Path) -> None:
    """Other users cannot open the lock (77), not even to read, but still find the daemon."""
    open_to_others(tmp_path)
    code = f"""
import os
from geodrop.errors import PrivilegeError
from geodrop.state import lock
lock.lock_file, lock.daemon_file = lambda: "{tmp_path}/run/lock", lambda: "{tmp_path}/run/daemon"
print(lock.control_socket())
try:
    os.open("{tmp_path}/run/lock", os.O_RDONLY)
except PermissionError:
    print("cannot be opened")
try:
    with lock.exclusive(): print("locked")
except PrivilegeError as failure:
    print(failure.exit_code)
"""
    with lock.exclusive(tmp_path / "c.sock"):
        done = subprocess.run([*as_user(), sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split("\n") == [str(tmp_path / "c.sock"), "cannot be opened", "77", ""]


def test_no_right_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing right to the folder is reported (77)."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("geodrop.state.run_folder.os.mkdir", refuse)
    with pytest.raises(PrivilegeError, match=str(tmp_path)), lock.exclusive():
        pytest.fail("locked")
