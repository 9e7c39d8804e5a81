"""Fixtures of the fleet tests: bare machines of both releases, and the packages that are rolled out to them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.edge import require_machines
from tests.system.machine import BUILD, base, wheels
from tests.system.packages import NEXT, build, renumbered

if TYPE_CHECKING:
    from collections.abc import Iterator

RELEASES = ("bookworm", "trixie")
"""Releases of Debian."""
PACKING = "zstd"
"""Packed in a fifth of the time that xz takes, and small enough to be sent."""


@pytest.fixture(scope="session")
def machines() -> Iterator[Path]:
    """Yield the folder with the machines of this session, on a disk: /tmp may be in memory."""
    require_machines()
    for program in ("ansible-playbook", "ansible-galaxy"):
        if not (BUILD / "fleet/bin" / program).exists():
            pytest.fail(f"{program} is missing in build/fleet; next: make test-setup")
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="machines-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def bare(machines: Path) -> dict[str, Path]:  # noqa: ARG001 - which says what is missing to start any
    """Return the root of a host by its release: Debian and SSH, and nothing of geodrop."""
    return {release: base(release) for release in RELEASES}


@pytest.fixture(scope="session")
def packages(machines: Path) -> Path:
    """Return a folder with the package for each release, built from this tree."""
    folder = machines / "packages"
    folder.mkdir()
    [wheel] = wheels("bookworm").glob("geodrop-*.whl")
    for release in RELEASES:
        build(release, wheel, folder, PACKING)
    return folder


@pytest.fixture(scope="session")
def newer_packages(packages: Path) -> Path:
    """Return the same folder, with the packages as version NEXT too."""
    [wheel] = wheels("bookworm").glob("geodrop-*.whl")
    for release in RELEASES:
        build(release, renumbered(wheel, packages, NEXT), packages, PACKING)
    return packages
