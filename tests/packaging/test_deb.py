# SPDX-License-Identifier: Apache-2.0
"""The Debian package: the same bytes from the same sources, for the right processor, complete."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

from deploy.packages import deb, tree
from deploy.packages.elf import read_elf
from deploy.packages.normal import normalize
from deploy.packages.targets import BPF, TARGETS
from tests.packaging.conftest import CODENAME, PACKING
from tests.system.packages import sources, target

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.packages.targets import Target

SHORT = [one for one in TARGETS if str(one) in ("deb12_arm64", "deb13_amd64")]
LONG = bool(os.environ.get("GEODROP_TEST_LONG"))


def test_built_twice_it_is_the_same(package: Path, wheel: Path, tmp_path: Path) -> None:
    """Another folder, another umask and other times of the sources make no difference."""
    before = os.umask(0o077)
    try:
        again = deb.build(target(CODENAME), sources(wheel, target(CODENAME)), tmp_path, PACKING)
    finally:
        os.umask(before)
    assert again.name == package.name
    assert again.read_bytes() == package.read_bytes()


def test_a_wheel_has_the_bytes_of_its_sources(wheel: Path, tmp_path: Path) -> None:
    """Whatever modes a umask or a checkout gave the files, and in whatever order they were packed."""
    made = []
    for mode, step in ((0o100600, 1), (0o100664, -1)):
        path = tmp_path / f"{mode:o}.whl"
        with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(path, "w") as new:
            for item in old.infolist()[::step]:
                content = old.read(item)
                item.external_attr = mode << 16
                new.writestr(item, content)
        before = path.read_bytes()
        normalize(path)
        made.append(path.read_bytes())
        assert made[-1] != before
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "100600.whl") as archive, zipfile.ZipFile(wheel) as old:
        assert archive.testzip() is None
        assert set(archive.namelist()) == set(old.namelist())


@pytest.mark.parametrize("wanted", TARGETS if LONG else SHORT, ids=str)
def test_every_module_fits_the_processor(wanted: Target, wheel: Path, tmp_path: Path) -> None:
    """Each shared object is of the target's machine and Python; the XDP program is of the kernel's own."""
    tree.fill(tmp_path, wanted, sources(wheel, wanted), "geodrop.deb")
    found = {path: read_elf(path) for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()}
    machines = {str(path): elf.machine for path, elf in found.items() if elf}
    modules = {path for path in machines if re.search(r"\.so(\.|$)", path)}
    assert len(modules) > 20
    assert {machines[path] for path in modules} == {wanted.processor.elf}
    assert {machines[path] for path in machines.keys() - modules} == {BPF}
    python = wanted.release.python.replace(".", "")
    assert {tag for path in modules for tag in re.findall(r"\.cpython-(\d+)-", path)} == {python}


def test_a_module_of_another_processor_is_refused(contents: Path) -> None:
    """The builder itself looks, so no such package leaves it."""
    files = [path for path in contents.rglob("*.so") if not path.is_symlink()]
    with pytest.raises(ValueError, match="for machine 62, not for deb12_arm64"):
        deb.needed(target(CODENAME, "arm64"), files)
    [openblas] = [path for path in files if "openblas" in path.name]
    with pytest.raises(ValueError, match="no package is known for libgfortran"):
        deb.needed(target(CODENAME), [openblas])


def test_units_and_commands_name_what_is_there(contents: Path) -> None:
    """No path of another way to install is left, and each program that a unit starts is in the package."""
    units = [path for path in (contents / tree.UNITS).iterdir() if path.is_file()]
    assert len(units) == 5
    for unit in units:
        text = unit.read_text()
        assert "/opt/" not in text
        for program in re.findall(r"^Exec\w+=(/\S+)", text, re.MULTILINE):
            path = contents / program.lstrip("/")
            assert path.is_symlink() or os.access(path, os.X_OK)
    command = contents / "usr/sbin/geodrop"
    assert command.readlink().as_posix() == "../lib/geodrop/bin/geodrop"


def test_no_file_of_the_operator_is_the_packages(package: Path, contents: Path) -> None:
    """Nothing is below /etc and there are no conffiles: dpkg never asks about, replaces or removes such a file."""
    assert not (contents / "etc").exists()
    control = subprocess.run(["dpkg-deb", "--ctrl-tarfile", str(package)], capture_output=True, check=True).stdout
    assert b"conffiles" not in control


@pytest.mark.parametrize("script", sorted(deb.SCRIPTS.iterdir()), ids=lambda path: path.name)
def test_scripts_are_shell(script: Path) -> None:
    """Debian's shell takes them."""
    subprocess.run(["sh", "-n", str(script)], check=True)
