# SPDX-License-Identifier: Apache-2.0
"""The Debian package as a host gets it: built from this tree, and the same with another version."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING

from deploy.packages import deb
from deploy.packages.sources import Sources
from deploy.packages.targets import TARGETS
from deploy.packages.wheels import fetch, version_of
from tests.support.namespaces import run
from tests.system.machine import BUILD, PIP, REPOSITORY, alone, wheels

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.packages.targets import Target

RELEASE = os.environ.get("GEODROP_TEST_RELEASE", "bookworm")
NEXT = "99.0"
"""A version that is newer than any."""
PREVIOUS = "0.0.1"
"""A version that is older than any, for the commit before."""
OBJECTS = ("geodrop.bpf.o", "geodrop_no_clock.bpf.o")
EPOCH = 1704067200
"""The time of all files, in seconds; any will do."""


def target(codename: str, processor: str = "amd64") -> Target:
    """Return the target of a release by its codename, such as bookworm."""
    [found] = [one for one in TARGETS if one.release.codename == codename and one.processor.debian == processor]
    return found


def locked(wanted: Target) -> list[Path]:
    """Return the locked wheels of a target; fetched once."""
    with alone():
        return fetch(wanted, BUILD / "wheels")


def sources(wheel: Path, wanted: Target) -> Sources:
    """Return what a target's package with that wheel of geodrop's is made of."""
    return Sources(wheel, locked(wanted), EPOCH)


def packages(codename: str, folder: Path) -> tuple[Path, Path]:
    """Build the package of a release into `folder`, and the same as version NEXT; return both."""
    [wheel] = wheels(codename).glob("geodrop-*.whl")
    return build(codename, wheel, folder), build(codename, renumbered(wheel, folder, NEXT), folder)


def build(codename: str, wheel: Path, folder: Path, packing: str = "none") -> Path:
    """Build the package of a release from geodrop's wheel into `folder`; `packing` as `deploy.packages.deb` has it."""
    wanted = target(codename)
    return deb.build(wanted, sources(wheel, wanted), folder, packing=packing)


def before(codename: str, folder: Path) -> Path:
    """Build the package of the commit before, as version PREVIOUS, in `folder`; return its path."""
    tree = folder / "before"
    tree.mkdir()
    packed = folder / "before.tar"
    run("git", "-C", str(REPOSITORY), "archive", f"--output={packed}", "HEAD~1")
    run("tar", "-xf", str(packed), "-C", str(tree))
    run("make", "-C", str(tree), *(f"agent/geodrop/xdp/{name}" for name in OBJECTS))
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tree), str(tree))
    [wheel] = tree.glob("geodrop-*.whl")
    return build(codename, renumbered(wheel, folder, PREVIOUS), folder)


def renumbered(wheel: Path, folder: Path, version: str) -> Path:
    """Make the same wheel with another version."""
    own = version_of(wheel)
    made = folder / wheel.name.replace(own, version)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith(("dist-info/METADATA", "geodrop/__init__.py", "dist-info/RECORD")):
                content = content.replace(own.encode(), version.encode())
            new.writestr(item.filename.replace(f"-{own}.dist-info", f"-{version}.dist-info"), content)
    return made
