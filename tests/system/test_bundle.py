# SPDX-License-Identifier: Apache-2.0
"""The offline bundle and the package in the root of an image: without a network, and without a systemd that runs."""

from __future__ import annotations

import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from deploy.packages import bundle
from geodrop import __version__
from tests.support.namespaces import run
from tests.system.edge import require_machines
from tests.system.machine import base, copy, wheels
from tests.system.packages import RELEASE, packages, sources, target

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.machine import Machine

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def off(machines: Path, tmp_path: Path) -> Machine:
    """Return a machine without geodrop, that is not started."""
    require_machines()
    return copy(base(RELEASE), machines / tmp_path.name)


def test_the_bundle_installs_offline(off: Machine, tmp_path: Path) -> None:
    """Its wheels are enough; one that was altered is refused before anything is installed."""
    [wheel] = wheels(RELEASE).glob("geodrop-*.whl")
    wanted = target(RELEASE)
    packed = bundle.build(wanted.processor, sources(wheel, wanted), tmp_path)
    again = bundle.build(wanted.processor, sources(wheel, wanted), off.root / "root")
    assert packed.read_bytes() == again.read_bytes()
    run("tar", "-xf", str(packed), "-C", str(off.root / "root"))
    install = f"/root/{packed.stem}/install.sh"
    numpy = next((off.root / "root" / packed.stem / "wheels").glob("numpy-*"))
    good = numpy.read_bytes()
    numpy.write_bytes(good + b" ")
    with pytest.raises(RuntimeError, match="this bundle is damaged"):
        off.chroot(install)
    assert not (off.root / "opt/geodrop").exists()
    numpy.write_bytes(good)
    assert __version__ in off.chroot(install)
    assert __version__ in off.chroot("/usr/local/sbin/geodrop", "--version")


def test_the_package_in_the_root_of_an_image(off: Machine, tmp_path: Path) -> None:
    """Everything is there for the first boot: users, the operator's folder, enabled units."""
    package, _ = packages(RELEASE, tmp_path)
    shutil.copy(package, off.root / "root")
    off.chroot("dpkg", "--install", f"/root/{package.name}")
    groups = dict(line.split(":")[:3:2] for line in (off.root / "etc/group").read_text().splitlines())
    found = (off.root / "etc/geodrop").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o750, 0, int(groups["geodrop"]))
    enabled = run("find", str(off.root / "etc/systemd/system"), "-name", "geodrop*", "-printf", "%f\n").split()
    assert sorted(enabled) == ["geodrop-boot.service", "geodrop-compile.socket", "geodrop.service"]
