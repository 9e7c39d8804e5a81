# SPDX-License-Identifier: Apache-2.0
"""The wheel holds all that geodrop needs at run time: the tested source tree is what gets installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("agent", "bpf", "deploy", "pyproject.toml", "README.md", "LICENSE", "LICENSES")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from a copy, because setuptools writes into the tree it builds from."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_every_file(wheel: Path) -> None:
    """Each file of the package is in it with its content; links are replaced by their targets."""
    package = ROOT / "agent"
    expected = {
        str(Path(folder, name).relative_to(package)): Path(folder, name).read_bytes()
        for folder, _, names in os.walk(package / "geodrop", followlinks=True)
        for name in names
        if not folder.endswith("__pycache__")
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name.startswith("geodrop/")}
    assert packed.keys() == expected.keys()
    assert packed == expected


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    """Its run-time dependencies are those of requirements/run.in, its command is geodrop, its licence is in it."""
    with zipfile.ZipFile(wheel) as archive:
        texts = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    needed = {
        line.removeprefix("Requires-Dist: ") for line in texts["METADATA"].splitlines() if "Requires-Dist" in line
    }
    wanted = {line for line in (ROOT / "requirements" / "run.in").read_text().splitlines() if not line.startswith("#")}
    assert {_name(line) for line in needed} == {_name(line) for line in wanted}
    assert "geodrop = geodrop.cli.main:main" in texts["entry_points.txt"]
    assert "Apache License" in texts["LICENSE"]


def _name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement.lower(), maxsplit=1)[0]


def test_an_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """Away from the source tree the bundled database unpacks and the verbs answer."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = "import geodrop, pathlib; from geodrop.data import bundled_database; bundled_database(pathlib.Path('.'))"
    for command in (["-c", script + "; print(geodrop.__file__)"], ["-m", "geodrop", "--version"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, check=True
        )
        assert done.stdout.decode().startswith((str(tmp_path), "geodrop "))
