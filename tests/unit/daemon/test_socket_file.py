# SPDX-License-Identifier: Apache-2.0
"""Unix sockets at a path, in a folder whose owner may do anything with its names."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from geodrop.daemon import socket_file

if TYPE_CHECKING:
    from pathlib import Path

STRANGER = 12_345


def test_it_is_for_its_group_alone(tmp_path: Path) -> None:
    """The socket is for its group only, whatever the umask is."""
    for mask in (0o000, 0o077):
        before = os.umask(mask)
        try:
            with socket_file.bind(str(tmp_path / f"{mask}")):
                assert (tmp_path / f"{mask}").stat().st_mode & 0o777 == 0o660
        finally:
            os.umask(before)


@pytest.mark.root
def test_it_is_given_to_a_group(tmp_path: Path) -> None:
    """The socket gets the named group; its user stays."""
    with socket_file.bind(str(tmp_path / "s"), STRANGER):
        assert ((tmp_path / "s").stat().st_uid, (tmp_path / "s").stat().st_gid) == (os.geteuid(), STRANGER)


def test_a_dead_one_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    """A file, a link to a dead socket, and a socket with a server, even one with a full queue, are not replaced."""
    path = tmp_path / "s"
    socket_file.bind(str(path)).close()
    with socket_file.bind(str(path)) as living:
        living.listen(0)
        for _ in range(3):  # each probe stays in the queue, which is full after the second
            with pytest.raises(OSError, match="answers") as caught:
                socket_file.bind(str(path))
            assert caught.value.errno == errno.EADDRINUSE
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "file").write_text("precious")
    for name in ("link", "file"):
        with pytest.raises(OSError, match="is no socket"):
            socket_file.bind(str(tmp_path / name))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.root
def test_what_is_put_in_its_place_is_not_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user replaces the name right after it was made, which is the worst moment for root."""
    precious = tmp_path / "shadow"
    precious.touch(0o600)

    class Swapped(socket.socket):
        def bind(self, address: str) -> None:  # type: ignore[override]  # the tests' sockets have a name
            super().bind(address)
            os.rename(address, f"{address}.away")
            os.symlink(precious, address)

    monkeypatch.setattr(socket, "socket", Swapped)
    with pytest.raises(OSError, match="something else in its place"):
        socket_file.bind(str(tmp_path / "s"), STRANGER)
    assert (precious.stat().st_mode & 0o777, precious.stat().st_gid) == (0o600, 0)
