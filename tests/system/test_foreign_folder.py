# SPDX-License-Identifier: Apache-2.0
"""Root may run geodrop in a folder that another user can write to: nothing there is ever imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.databases import country, write_database
from tests.support.namespaces import require

GEODROP = str(Path(sys.executable).with_name("geodrop"))
POLICY = "version: 1\nservices:\n  api: {default: allow, unknown: allow, deny: [IR]}\n"

TRAP = "open({path!r}, 'a').write(__name__ + '\\n')\nraise SystemExit('this module is a trap')\n"

TRAPS = ("json", "socket", "ctypes", "numpy", "yaml", "asyncio", "http", "geodrop")
"""Modules that geodrop or its children import, placed in the current folder."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder full of modules that must not be imported, with a policy and a database beside them."""
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text(TRAP.format(path=str(tmp_path / "sprung")))
    (tmp_path / "p.yaml").write_text(POLICY)
    write_database(tmp_path / "d.mmdb", {"1.0.0.0/8": country("IR"), "2400::/16": country("IR")})
    return tmp_path


def sprung(folder: Path) -> str:
    """Return the traps that were imported."""
    return (folder / "sprung").read_text() if (folder / "sprung").exists() else ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "p.yaml"],
        ["compile", "--policy", "p.yaml", "--database", "d.mmdb", "-o", "out"],
        ["explain", "--policy", "p.yaml", "--database", "d.mmdb", "1.2.3.4"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_verbs_import_nothing_from_the_current_folder(folder: Path, arguments: list[str]) -> None:
    """The verb does its work, and no trap is sprung, not even as user nobody."""
    folder.chmod(0o777)
    done = subprocess.run([GEODROP, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert (sprung(folder), done.returncode, done.stderr) == ("", 0, "")


@pytest.mark.root
def test_the_demo_imports_nothing_from_the_current_folder(folder: Path) -> None:
    """Its processes are root too: the demo reaches its first act."""
    require()
    demo = subprocess.Popen([GEODROP, "demo"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    begun = any(line.startswith("1. ") for line in demo.stdout)
    demo.terminate()
    _, err = demo.communicate()
    assert (sprung(folder), begun, err) == ("", True, "")
