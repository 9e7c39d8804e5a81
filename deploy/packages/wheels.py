# SPDX-License-Identifier: Apache-2.0
"""The locked packages as wheels for another machine: fetched by hash, never compiled, unpacked as pip would."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.packages.targets import Target

REPOSITORY = Path(__file__).parents[2]
LOCK = REPOSITORY / "requirements" / "run.txt"
WANTED = REPOSITORY / "requirements" / "run.in"
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
SCHEMES = ("purelib", "platlib")
"""Folders of a wheel's .data that hold modules. Others hold programs and headers, which geodrop does not run."""


def fetch(target: Target, cache: Path) -> list[Path]:
    """Return the wheels of requirements/run.txt for a target, sorted by name; fetched once into a folder of `cache`.

    Raises subprocess.CalledProcessError if pip cannot have one, or if a hash is another than the lock's.
    """
    folder = cache / str(target)
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        platforms = [f"--platform={tag}" for tag in target.platforms]
        python = target.release.python
        abis = [f"--abi={tag}" for tag in (f"cp{python.replace('.', '')}", "abi3", "none")]
        subprocess.run(
            [
                *PIP, "download", "--require-hashes", "--no-deps", "--only-binary=:all:", "--implementation=cp",
                f"--python-version={python}", *abis, *platforms, f"--requirement={LOCK}", f"--dest={folder}",
            ],
            check=True,
        )  # fmt: skip
        stamp.write_bytes(LOCK.read_bytes())
    return sorted(folder.glob("*.whl"))


def imported() -> set[str]:
    """Return the names of the packages that geodrop imports, normalized (PEP 503): those of requirements/run.in."""
    lines = [line.split("#")[0].strip() for line in WANTED.read_text(encoding="utf-8").splitlines()]
    return {normalized(re.split(r"[ <>=!~]", line)[0]) for line in lines if line}


def lock_of_imported() -> str:
    """Return the entries of requirements/run.txt for the packages that geodrop imports, with their hashes."""
    blocks = re.findall(r"^[\w.-]+==.*\n(?: .*\n)*", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    wanted = imported()
    return "".join(block for block in blocks if normalized(block.partition("==")[0]) in wanted)


def normalized(name: str) -> str:
    """Return a package's name as an index spells it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(wheel: Path) -> str:
    """Return the normalized name of a wheel's package."""
    return normalized(wheel.name.split("-")[0])


def version_of(wheel: Path) -> str:
    """Return the version of a wheel's package."""
    return wheel.name.split("-")[1]


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack the modules of a wheel into a folder, without its tests; every file is 0644."""
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            parts = Path(item.filename).parts
            if item.is_dir() or _is_test(parts):
                continue
            if parts[0].endswith(".data"):
                if parts[1] not in SCHEMES:
                    continue
                parts = parts[2:]
            to = folder.joinpath(*parts)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(archive.read(item))
            to.chmod(0o644)


def _is_test(parts: tuple[str, ...]) -> bool:
    """Return whether a file belongs to the tests that numpy installs: a quarter of its modules."""
    return parts[0] == "numpy" and "tests" in parts[:-1]
