# SPDX-License-Identifier: Apache-2.0
"""Everything that is given out says under which licence, and the texts are there."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import files, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "LICENSES"
OBJECTS = ("geodrop.bpf.o", "geodrop_no_clock.bpf.o")

COMPATIBLE = {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
"""Which words in a program make its licence one for the kernel: include/linux/license.h."""

BEGINS = {
    "Apache-2.0": "Apache License",
    "CC-BY-4.0": "Creative Commons Attribution 4.0 International",
    "GPL-2.0-only": "GNU GENERAL PUBLIC LICENSE",
}


def table() -> str:
    """Return the section of docs/dependencies.md about licences."""
    return (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").partition("## Licences")[2]


def test_each_licence_has_its_text() -> None:
    """The package names the licences whose texts are in LICENSES/, no more and no fewer, and takes the texts along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"[A-Za-z]+-[A-Za-z0-9.-]+", project["license"]))
    assert named == BEGINS.keys() == {path.stem for path in TEXTS.iterdir()}
    for name, words in BEGINS.items():
        assert (TEXTS / f"{name}.txt").read_text(encoding="utf-8").strip().startswith(words)
    assert {"LICENSE", "LICENSES/*.txt"} == set(project["license-files"])


@pytest.mark.parametrize("name", OBJECTS)
def test_the_kernel_takes_the_licence_of_the_program(name: str) -> None:
    """Each object has, in its section `license`, words under which the kernel lets a program use all helpers."""
    content = (ROOT / "agent" / "geodrop" / "xdp" / name).read_bytes()
    found = [words for words in COMPATIBLE if b"\0" + words.encode() + b"\0" in content]
    assert found == ["GPL and additional rights"]


def test_the_program_is_under_both_licences() -> None:
    """Each source of the program says so, that it may be used with the kernel and with the rest of geodrop."""
    sources = [path for path in (ROOT / "bpf").rglob("*.[ch]") if "Empty: " not in path.read_text()]
    assert sources
    for path in sources:
        assert "SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */" in path.read_text().splitlines()[0], path


def test_each_package_is_named() -> None:
    """What geodrop needs at run time, and each library inside numpy's wheel, is in the table."""
    for requirement in requires("geodrop") or ():
        name = re.split(r"[^A-Za-z0-9_-]", requirement)[0]
        assert re.search(rf"^\|.*\b{name}\b", table(), re.MULTILINE | re.IGNORECASE), name
    libraries = {path.name for path in files("numpy") or () if path.parts[0] == "numpy.libs"}
    assert libraries
    for library in libraries:
        assert re.split(r"-|\.", library)[0] in table(), library


def test_the_bundled_data_name_their_author() -> None:
    """The attribution that CC BY asks for is beside the data, and in the package."""
    said = (ROOT / "agent" / "geodrop" / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "Creative Commons" in said
    assert "https://db-ip.com" in said


SOURCES = {
    *(".py", ".sh", ".c", ".h", ".yaml", ".yml"),
    *(".service", ".socket", ".mount", ".conf", ".sysusers", ".tmpfiles"),
}
"""What a source file is called; or it begins with #!."""


def sources() -> list[Path]:
    """Return the source files of this tree, without what others made and what was built or fetched."""
    found = []
    for folder in ("agent", "bpf", "deploy", "docs", "systemd", "tests"):
        found += [path for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and not path.is_symlink()]
    inside = (path for path in found if not {"__pycache__", "geodrop.egg-info"} & {*path.parts})
    return [ROOT / "Makefile", *(path for path in inside if path.suffix in SOURCES or path.read_bytes()[:2] == b"#!")]


def test_each_source_file_names_its_licence() -> None:
    """The identifier is in the first two lines; only the XDP program, and what is built like it, is under two."""
    wrong = []
    for path in sources():
        first = path.read_text(encoding="utf-8").splitlines()[:2]
        both = path.suffix in {".c", ".h"}
        wanted = f"SPDX-License-Identifier: {'GPL-2.0-only OR Apache-2.0' if both else 'Apache-2.0'}"
        if not any(line.strip("#/* ").endswith(wanted) for line in first):
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []
