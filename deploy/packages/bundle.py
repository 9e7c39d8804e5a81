# SPDX-License-Identifier: Apache-2.0
"""The offline bundle: the wheels of a processor for every supported Python, with what deploy/install.sh needs.

It is for distributions that have no package of their own here. Its requirements/run.txt has the packages that geodrop
imports, and install.sh takes each wheel by the hash there.
"""

from __future__ import annotations

import hashlib
import tarfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.packages import wheels
from deploy.packages.licences import read_package
from deploy.packages.sbom import sbom

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.packages.sources import Sources
    from deploy.packages.targets import Processor

REPOSITORY = Path(__file__).parents[2]
TREE = ("deploy/install.sh", "deploy/uninstall.sh", "deploy/steps.sh", "LICENSE", "README.md")
FOLDERS = ("deploy/packages", "deploy/policies", "deploy/prometheus", "docs", "systemd")

INSTALL = """#!/bin/sh
# Installs or upgrades geodrop from the wheels beside this file, without a package index: ./install.sh [--xdp]
set -eu
cd "$(dirname "$0")"
sha256sum --check --quiet SHA256SUMS || {
	echo "install.sh: this bundle is damaged; nothing has changed; next: fetch it once more" >&2; exit 65; }
PIP_NO_INDEX=1 PIP_FIND_LINKS="$PWD/wheels" exec deploy/install.sh "$@" wheels/geodrop-*.whl
"""


def build(processor: Processor, sources: Sources, folder: Path) -> Path:
    """Write the bundle of a processor into `folder`; `sources` has the wheels of all its targets. Return its path."""
    name = f"geodrop-{wheels.version_of(sources.geodrop)}-offline-{processor.wheel}"
    files = {f"wheels/{path.name}": path.read_bytes() for path in sources.wheels}
    files["requirements/run.txt"] = wheels.lock_of_imported().encode()
    files |= {path: (REPOSITORY / path).read_bytes() for path in (*TREE, *_below(FOLDERS))}
    packages = [read_package(path, processor.debian) for path in sources.wheels]
    files["sbom.cdx.json"] = sbom(packages, f"{name}.tar", sources.epoch).encode()
    files["install.sh"] = INSTALL.encode()
    sums = (f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(files.items()))
    files["SHA256SUMS"] = "".join(sums).encode()
    to = folder / f"{name}.tar"
    # Wheels are packed already.
    with tarfile.open(to, "w", format=tarfile.GNU_FORMAT) as archive:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size, member.mtime, member.mode = len(data), sources.epoch, 0o755 if path.endswith(".sh") else 0o644
            archive.addfile(member, BytesIO(data))
    return to


def _below(folders: Iterable[str]) -> list[str]:
    found = (path for folder in folders for path in (REPOSITORY / folder).rglob("*"))
    return [str(path.relative_to(REPOSITORY)) for path in found if path.is_file() and path.suffix != ".pyc"]
