"""The Debian package as a host gets it: built from this tree, and the same with another version."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from deploy.packages import deb
from deploy.packages.targets import TARGETS
from deploy.packages.wheels import fetch
from geodrop import __version__
from tests.system.machine import BUILD, alone, wheels

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.packages.targets import Target

NEXT = "99.0"
"""A version that is newer than any."""
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


def packages(codename: str, folder: Path) -> tuple[Path, Path]:
    """Build the package of a release into `folder`, and the same as version NEXT; return both."""
    [wheel] = wheels(codename).glob("geodrop-*.whl")
    wanted = target(codename)
    newer = renumbered(wheel, folder)
    this, other = (deb.build(wanted, one, locked(wanted), folder, EPOCH) for one in (wheel, newer))
    return this, other


def renumbered(wheel: Path, folder: Path) -> Path:
    """Make the same wheel with another version."""
    made = folder / wheel.name.replace(__version__, NEXT)
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith(("dist-info/METADATA", "geodrop/__init__.py", "dist-info/RECORD")):
                content = content.replace(__version__.encode(), NEXT.encode())
            new.writestr(item.filename.replace(f"-{__version__}.dist-info", f"-{NEXT}.dist-info"), content)
    return made
