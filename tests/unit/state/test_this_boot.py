# SPDX-License-Identifier: Apache-2.0
"""All processes of a host agree on the boot, whatever boot ID each of them sees in its /proc."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.state import lock, places, run_folder, this_boot
from geodrop.state.exemptions import ClockReading

if TYPE_CHECKING:
    from pathlib import Path

CONTAINERS, KERNELS = "0123abcd-0000-4000-8000-000000000000", "89ab0123-0000-4000-8000-000000000000"


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that /proc shows; it holds the ID of a container, and /run nothing yet."""
    shown = tmp_path / "boot_id"
    shown.write_text(f"{CONTAINERS}\n")
    monkeypatch.setattr(places, "BOOT", str(shown))
    monkeypatch.setattr(this_boot, "until_boot", lambda: str(tmp_path / "run"))
    monkeypatch.setattr(lock, "lock_file", lambda: str(tmp_path / "run/lock"))
    monkeypatch.setattr(lock, "daemon_file", lambda: str(tmp_path / "run/daemon"))
    return shown


def test_the_first_change_says_which_it_is(boot: Path, tmp_path: Path) -> None:
    """A unit with a /proc of its own, which sees the kernel's ID, takes the one that was noted before."""
    with lock.exclusive():
        pass
    noted = tmp_path / "run/boot"
    assert (noted.read_text(), noted.stat().st_mode & 0o777) == (CONTAINERS, 0o644)
    boot.write_text(f"{KERNELS}\n")
    assert (this_boot.boot_identity(), this_boot.boot_id()) == (CONTAINERS, CONTAINERS[:8])
    assert ClockReading.now().boot == CONTAINERS
    with lock.exclusive():
        pass
    assert noted.read_text() == CONTAINERS


def test_the_next_boot_is_another_one(boot: Path, tmp_path: Path) -> None:
    """What was noted goes with /run."""
    with lock.exclusive():
        pass
    before = this_boot.boot_identity()
    (tmp_path / "run/boot").unlink()
    boot.write_text(f"{KERNELS}\n")
    assert this_boot.boot_identity() == KERNELS != before


def test_where_nothing_was_noted_each_sees_its_own(boot: Path, tmp_path: Path) -> None:
    """A command that only reads writes nothing."""
    assert this_boot.boot_identity() == boot.read_text().strip()
    assert not (tmp_path / "run/boot").exists()


@pytest.mark.parametrize("content", ["", "no ID\n", CONTAINERS * 9])
def test_what_is_no_identity_is_replaced(boot: Path, tmp_path: Path, content: str) -> None:
    """Damage counts as nothing noted, and does not stay."""
    boot.write_text(f"{KERNELS}\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/boot").write_text(content)
    assert this_boot.boot_identity() == KERNELS
    with lock.exclusive():
        pass
    assert (tmp_path / "run/boot").read_text() == KERNELS


def test_a_link_is_not_followed(boot: Path, tmp_path: Path) -> None:
    """The owner of the folder under /run cannot make root read or write a file elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(KERNELS)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/boot").symlink_to(elsewhere)
    assert this_boot.boot_identity() == boot.read_text().strip()
    with lock.exclusive():
        pass
    assert elsewhere.read_text() == KERNELS
    assert not (tmp_path / "run/boot").is_symlink()


@pytest.mark.usefixtures("boot")
def test_a_full_run_stops_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is taken all the same, and each process sees what it sees."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "replace", full)
    with lock.exclusive():
        assert this_boot.boot_identity() == CONTAINERS
