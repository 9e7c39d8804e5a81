"""Fixtures of the fleet tests: bare machines of both releases, and the packages that are rolled out to them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop import __version__
from tests.fleet.hosts import Fleet, fleet
from tests.fleet.policies import POLICY
from tests.system.edge import require_machines
from tests.system.machine import BUILD, REPOSITORY, base, copy, wheels

if TYPE_CHECKING:
    from collections.abc import Iterator

RELEASES = {"bookworm": "deb12_amd64", "trixie": "deb13_amd64"}
"""Releases of Debian, and what packages for them are called."""

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
def bare(machines: Path) -> dict[str, Path]:
    """Return the root of a host by its release: Debian and SSH, and nothing of geodrop."""
    roots = {}
    for release in RELEASES:
        made = copy(base(release), machines / release)
        made.chroot("systemctl", "enable", "--quiet", "ssh.service")
        # The cgroup of a user manager is never empty in these containers, so that each login would wait for its end.
        made.chroot("systemctl", "mask", "--quiet", "user@.service")
        roots[release] = made.root
    return roots


@pytest.fixture(scope="session")
def packages(machines: Path) -> Path:
    """Return a folder with the package for each release, built from this tree."""
    folder = machines / "packages"
    [wheel] = wheels("bookworm").glob("geodrop-*.whl")
    only = [word for target in RELEASES.values() for word in ("--only", target)]
    subprocess.run(
        [sys.executable, "-m", "deploy.packages", *only, "--to", str(folder), str(wheel)],
        cwd=REPOSITORY, env={**os.environ, "SOURCE_DATE_EPOCH": "1704067200"}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def pair(bare: dict[str, Path], packages: Path, machines: Path) -> Iterator[Fleet]:
    """Yield two bare hosts that change in one batch, and a controller whose as_it_is.yml compiles nothing."""
    with fleet([bare["bookworm"], bare["trixie"]], machines, INVENTORY) as made:
        settings = SETTINGS.format(packages=packages, version=__version__)
        made.write("fleet.yml", settings)
        made.write("as_it_is.yml", settings.replace("geodrop_policy: policy.yaml\n", ""))
        made.write("policy.yaml", POLICY)
        yield made
