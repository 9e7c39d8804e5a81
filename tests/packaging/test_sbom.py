# SPDX-License-Identifier: Apache-2.0
"""The SBOM and the licences: everything in the package is named, with what it says of itself."""

from __future__ import annotations

import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from deploy.packages import tree, wheels
from deploy.packages.licences import TABLE
from tests.packaging.conftest import CODENAME
from tests.system.packages import locked, target

if TYPE_CHECKING:
    from pathlib import Path

PARTS_ELSEWHERE = {"random", "linalg"}
"""Folders of numpy with a licence of their own whose parts are named one by one."""


@pytest.fixture(scope="module")
def bom(contents: Path) -> dict[str, Any]:
    """Return the SBOM in the package."""
    found: dict[str, Any] = json.loads((contents / tree.DOC / "sbom.cdx.json").read_text(encoding="utf-8"))
    return found


def flat(bom: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return all components by name, those inside of others too."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [bom["metadata"]["component"], *bom["components"]]
    while waiting:
        one = waiting.pop()
        found[one["name"]] = one
        waiting += one.get("components", [])
    return found


def test_every_package_is_in_it(bom: dict[str, Any], contents: Path) -> None:
    """What is installed and what the SBOM names are the same, and each hash is one of the lock's."""
    installed = {wheels.normalized(path.name.split("-")[0]) for path in contents.rglob("*.dist-info") if path.is_dir()}
    components = {one["name"]: one for one in bom["components"]}
    assert components.keys() | {"geodrop"} == installed
    lock = wheels.LOCK.read_text(encoding="utf-8")
    for name, one in components.items():
        assert f"{name}=={one['version']} " in lock
        assert f"sha256:{one['hashes'][0]['content']}" in lock
    references = [one["ref"] for one in bom["dependencies"]]
    assert sorted(references) == sorted({one["bom-ref"] for one in components.values()} | {references[0]})


def test_every_part_is_in_it(bom: dict[str, Any]) -> None:
    """What numpy says that it bundles, what geodrop bundles, and each folder of a wheel with a licence of its own."""
    [numpy] = [one for one in locked(target(CODENAME)) if wheels.name_of(one) == "numpy"]
    with zipfile.ZipFile(numpy) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if "/licenses/" in name}
    [bundled] = [text for name, text in texts.items() if name.endswith("licenses/LICENSE.txt") and "Name:" in text]
    named = re.findall(r"^Name: (.+)$", bundled, re.MULTILINE)
    assert len(named) == 4
    found = flat(bom)
    assert found.keys() >= set(named)
    for name in texts:
        folder, _, file = name.rpartition("/")
        last = folder.rpartition("/")[2]
        if not file or last in ("licenses", *PARTS_ELSEWHERE):
            continue
        what = file.removesuffix("_LICENSE.txt") if file.startswith("dragon4") else last
        assert {what, f"numpy.{what}"} & found.keys() or what == "lapack_lite", name
    assert re.fullmatch(r"[0-9.]+", found["OpenBLAS"]["version"])
    assert found["DB-IP Lite Country"]["licenses"] == [{"expression": "CC-BY-4.0"}]
    assert found["geodrop.bpf.c"]["licenses"] == [{"expression": "GPL-2.0-only OR Apache-2.0"}]


def test_every_shared_library_of_others_is_in_it(contents: Path) -> None:
    """A library that a wheel brings beside its modules belongs to a part, and each part is there."""
    site = next((contents / tree.PROGRAM / "lib").iterdir()) / "site-packages"
    patterns = [pattern for one in TABLE.values() for part in one.get("parts", ()) for pattern in part["files"]]
    named = {path for pattern in patterns for path in site.glob(pattern)}
    brought = set(site.glob("*.libs/*"))
    assert brought
    assert brought <= named
    assert [pattern for pattern in patterns if not list(site.glob(pattern))] == []


def test_the_copyright_file_names_the_same(bom: dict[str, Any], contents: Path) -> None:
    """debian/copyright is made from the same table: each part, and a text for each licence."""
    text = (contents / tree.DOC / "copyright").read_text(encoding="utf-8")
    for name, one in flat(bom).items():
        assert name == "geodrop" or f"Comment: {name}\n" in text
        assert one["copyright"] in text
    used = re.findall(r"^Files: .*\n(?: .*\n)*Copyright: .*\nLicense: (.+)$", text, re.MULTILINE)
    assert len(used) == len(flat(bom))
    explained = set(re.findall(r"^\nLicense: (.+)\n ", text, re.MULTILINE))
    assert {name for one in used for name in re.split(" and | or ", one)} == explained
    assert not {"(", ")"} & set("".join(used))
    assert "IP Geolocation by DB-IP" in text
