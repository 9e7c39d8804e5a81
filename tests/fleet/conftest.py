# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the fleet tests: bare machines of both releases, and the packages that are rolled out to them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop import __version__
from tests.fleet.hosts import Fleet, fleet
from tests.fleet.policies import POLICY
from tests.system.edge import require_machines
from tests.system.machine import BUILD, base, wheels
from tests.system.packages import NEXT, build, renumbered

if TYPE_CHECKING:
    from collections.abc import Iterator

RELEASES = ("bookworm", "trixie")
"""Releases of Debian."""
PACKING = "zstd"
"""Packed in a fifth of the time that xz takes, and small enough to be sent."""

INVENTORY = """
[edge]
edge-11 ansible_host=198.18.0.11
edge-12 ansible_host=198.18.0.12
[edge:vars]
ansible_user=root
ansible_ssh_private_key_file={folder}/key
ansible_ssh_common_args=-o UserKnownHostsFile={folder}/known_hosts
geodrop_interfaces=["eth*"]
"""
SETTINGS = """
geodrop_package:
  bookworm: {packages}/geodrop_{version}-1~deb12_amd64.deb
  trixie: {packages}/geodrop_{version}-1~deb13_amd64.deb
geodrop_policy: policy.yaml
geodrop_databases: [COUNTRY.mmdb]
geodrop_ruleset: fleet.ruleset
geodrop_engine: nftables
geodrop_soak: 2
geodrop_min_accepted: 20
geodrop_serial: [2]
"""


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


@pytest.fixture(scope="module")
def pair(bare: dict[str, Path], packages: Path, machines: Path) -> Iterator[Fleet]:
    """Yield two bare hosts that change in one batch, and a controller whose as_it_is.yml compiles nothing."""
    with fleet([bare["bookworm"], bare["trixie"]], machines, INVENTORY) as made:
        settings = SETTINGS.format(packages=packages, version=__version__)
        made.write("fleet.yml", settings)
        made.write("as_it_is.yml", settings.replace("geodrop_policy: policy.yaml\n", ""))
        made.write("policy.yaml", POLICY)
        yield made
