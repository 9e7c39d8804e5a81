import multiprocessing
import os
from pathlib import Path

import pytest

from geodrop.errors import BusyError
from geodrop.state import lock


@pytest.fixture(autouse=True)
def _own_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "lock_file", lambda: str(tmp_path / "run" / "lock"))


def test_second_holder_is_told_who_has_it() -> None:
    """While one process holds the lock another gets BusyError (75) that names it."""
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


def test_a_daemon_is_found_by_its_lock(tmp_path: Path) -> None:
    """It says where it answers, and a second one is told to ask it; whoever holds the lock next overwrites that."""
    assert lock.control_socket() == ""
    with lock.exclusive(tmp_path / "c.sock"):
        assert lock.control_socket() == str(tmp_path / "c.sock")
        with (
            pytest.raises(BusyError, match=f"daemon .pid {os.getpid()}. has the dataplane; .*geodrop reload"),
            lock.exclusive(),
        ):
            pytest.fail("two holders")
    assert lock.control_socket() == str(tmp_path / "c.sock"), "it may have died: whoever connects will see"
    with lock.exclusive():
        assert lock.control_socket() == ""


def test_everybody_may_look_who_has_it(tmp_path: Path) -> None:
    """Whatever the umask of the service is."""
    before = os.umask(0o077)
    try:
        with lock.exclusive():
            assert (tmp_path / "run" / "lock").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
