# SPDX-License-Identifier: Apache-2.0
"""What the tests of packages share: the package of one release, built once."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from deploy.packages import deb
from tests.system.machine import wheels
from tests.system.packages import sources, target

if TYPE_CHECKING:
    from pathlib import Path

CODENAME = "bookworm"
PACKING = "xz" if os.environ.get("GEODROP_TEST_LONG") else "none"
"""How packages are packed; a release's is xz, which takes most of the time."""


@pytest.fixture(scope="session")
def wheel() -> Path:
    """Return geodrop's wheel."""
    [made] = wheels(CODENAME).glob("geodrop-*.whl")
    return made


@pytest.fixture(scope="session")
def package(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package for Debian 12 on amd64."""
    wanted = target(CODENAME)
    return deb.build(wanted, sources(wheel, wanted), tmp_path_factory.mktemp("package"), PACKING)


@pytest.fixture(scope="session")
def contents(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all files of the package."""
    folder = tmp_path_factory.mktemp("contents")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    return folder
