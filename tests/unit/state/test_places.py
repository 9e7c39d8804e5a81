# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geodrop.state import places


def test_machine_namespace_has_the_usual_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the namespace of PID 1, the folders are those of the documentation."""
    own = os.stat("/proc/thread-self/net/dev")
    monkeypatch.setattr("geodrop.state.places.os.stat", lambda _: own)
    assert str(places.default_state()) == "/var/lib/geodrop"
    assert str(places.default_socket()) == "/run/geodrop/control.sock"
    assert str(places.lock_file()) == "/run/geodrop/lock"
    monkeypatch.setattr("geodrop.state.places.os.path.ismount", lambda _: False)
    assert str(places.default_pins()) == "/sys/fs/bpf/geodrop"


def test_a_bpffs_of_geodrop_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the units mounted a bpffs, the daemon and commands run by hand both use it."""
    own = os.stat("/proc/thread-self/net/dev")
    monkeypatch.setattr("geodrop.state.places.os.stat", lambda _: own)
    monkeypatch.setattr("geodrop.state.places.os.path.ismount", lambda path: str(path) == "/run/geodrop/bpf")
    assert str(places.default_pins()) == "/run/geodrop/bpf/geodrop"


@pytest.mark.root
def test_other_namespaces_have_places_of_their_own() -> None:
    """In another network namespace every place is in a folder named by the namespace."""
    # Two namespaces created one after the other may have the same inode number, but never the same cookie.
    code = "from geodrop.state import places as p; print(p.default_state(), p.default_socket(), p.lock_file())"
    run = ["unshare", "--net", sys.executable, "-c", code]
    one, other = (subprocess.run(run, check=True, capture_output=True, text=True).stdout.split() for _ in range(2))
    for place, root in zip(one, ("/var/lib/geodrop/netns/", "/run/geodrop/netns/", "/run/geodrop/netns/"), strict=True):
        assert place.startswith(root)
    assert not set(one) & set(other)


def test_the_state_of_a_namespace_ends_with_the_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies start again with each boot, so the folder's name has the boot ID and is never found by another boot."""
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(places, "BOOT", str(boot))
    monkeypatch.setattr(places, "STATE", str(tmp_path))
    monkeypatch.setattr(places, "is_machines_own", lambda: False)
    states = []
    for identity in ("0123abcd-e4d6-4f9a\n", "89ab0123-e4d6-4f9a\n"):
        boot.write_text(identity)
        states.append(places.default_state())
        states[-1].mkdir(parents=True)
    assert states[0] != states[1]
    monkeypatch.setattr(places, "RUN", str(tmp_path / "run"))
    assert [places.is_of_earlier_boot(state.name) for state in states] == [True, False]
    # Used since, whatever number of the boot is seen from here.
    Path(places.lock_file()).parent.mkdir(parents=True)
    assert [places.is_of_earlier_boot(state.name) for state in states] == [False, False]


def test_who_may_not_ask_gets_the_usual_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that cannot see PID 1 is taken to be in its namespace."""

    def stat(path: str) -> os.stat_result:
        if path.startswith("/proc/1/"):
            raise PermissionError
        return real(path)

    real = os.stat
    monkeypatch.setattr("geodrop.state.places.os.stat", stat)
    assert str(places.default_state()) == "/var/lib/geodrop"
