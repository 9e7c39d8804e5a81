# SPDX-License-Identifier: Apache-2.0
"""Fetch the real databases that tests/support/databases.py names, from npm; run by `make test-databases` as a module.

The databases are only used in tests and never shipped: the GeoLite2 licence does not allow that.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile

from tests.support.databases import REAL, real_database


def fetch(name: str) -> None:
    """Download a package and keep its file that has both families; a file that is already there is kept."""
    path = real_database(name)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    package = f"@ip-location-db/{name}-mmdb"
    command = ["npm", "pack", "--json", "--silent", "--pack-destination", str(path.parent), package]
    packed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)[0]
    # npm writes the scope into the file name, but not all versions of npm say so in their answer.
    archive = path.parent / str(packed["filename"]).removeprefix("@").replace("/", "-")
    with tarfile.open(archive) as tar, path.with_suffix(".part").open("wb") as part:
        member = tar.extractfile(f"package/{path.name}")
        if member is None:
            sys.exit(f"{archive}: holds no {path.name}")
        shutil.copyfileobj(member, part)
    path.with_suffix(".part").rename(path)
    archive.unlink()
    print(f"{path.name}: {packed['version']}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    for wanted in REAL:
        fetch(wanted)
