# SPDX-License-Identifier: Apache-2.0
"""The tree is easy to navigate: one test file per source file, and no file is too long."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "agent" / "geodrop"
UNIT = ROOT / "tests" / "unit"
KERNEL = ROOT / "tests" / "kernel"

MAX_LINES = 450

ONE_PLACE = {"--reuid=": "tests/support/users.py", "mount -t bpf bpf /sys/fs/bpf &&": "tests/support/bpffs.py"}
"""How a test becomes another user, or gets a bpffs, wherever the tree lies and whatever the machine has mounted."""

TESTED_ELSEWHERE = {
    "__main__.py": "two lines; every test that runs `python -m geodrop` goes through it",
    "cli/demo.py": "tests/system/test_demo.py: it is about processes, signals and what is left",
    "cli/run.py": "tests/kernel/daemon/test_run.py: the daemon is what it runs",
    "cli/reload.py": "tests/kernel/daemon/test_reload.py: it asks a daemon and prints the answer",
    "report/status.py": "tests/kernel/daemon and tests/kernel/cli: all of it is read from the kernel",
    "report/verify.py": "tests/kernel/cli/test_verify.py: it compares with the kernel",
    "daemon/context.py": "a record of what is tested part by part",
    "engine/api.py": "a protocol and its plain records; tests/conformance holds each engine to it",
}
"""Source files without their own test file: where they are tested instead, and why."""


def has_code(path: Path) -> bool:
    """Return whether a file is more than a docstring."""
    return len(path.read_text().splitlines()) > 5 or path.name != "__init__.py"


def homes_of_tests(source: Path) -> list[Path]:
    """Return where the tests of a source file belong: geo/mmdb.py -> tests/unit/geo/test_mmdb.py.

    A file that mostly talks to the kernel may be tested there instead: nftables/walk.py has
    tests/kernel/nftables/test_walk.py.
    """
    name = "init" if source.name == "__init__.py" else source.stem.strip("_")
    return [folder / source.relative_to(PACKAGE).parent / f"test_{name}.py" for folder in (UNIT, KERNEL)]


SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if has_code(path)]
FILES = [
    path
    for folder, pattern in (("agent", "*.py"), ("deploy", "*.py"), ("tests", "*.py"), ("bpf", "*.[ch]"))
    for path in sorted((ROOT / folder).rglob(pattern))
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_source_file_has_a_test_file(source: Path) -> None:
    """Each source file has its test file at the matching path."""
    name = str(source.relative_to(PACKAGE))
    homes = homes_of_tests(source)
    found = [path for path in homes if path.is_file()]
    if name in TESTED_ELSEWHERE:
        assert not found, f"{name} has tests of its own: take it off the list"
    else:
        assert found, f"{homes[0].relative_to(ROOT)} is missing"


def test_every_unit_test_has_a_source_file() -> None:
    """A test file whose source was renamed or removed is found."""
    expected = {path for source in SOURCES for path in homes_of_tests(source)}
    assert set(UNIT.rglob("test_*.py")) <= expected


def test_the_list_of_exceptions_is_true() -> None:
    """An exception names a file that exists."""
    assert set(TESTED_ELSEWHERE) <= {str(source.relative_to(PACKAGE)) for source in SOURCES}


def test_every_folder_of_the_package_holds_code() -> None:
    """Leftovers of a move are found: a link to a missing file, or an object built where nothing looks for it."""
    folders = {path.parent for path in PACKAGE.rglob("*") if path.is_file() and path.parent.name != "__pycache__"}
    without = {path for path in folders if not (path / "__init__.py").is_file()}
    source = PACKAGE / "xdp" / "source"
    assert {path for path in without if not path.is_relative_to(source)} == set()
    assert source.resolve() == ROOT / "bpf"


@pytest.mark.parametrize(("text", "home"), ONE_PLACE.items())
def test_what_depends_on_the_machine_is_in_one_place(text: str, home: str) -> None:
    """Tests use the shared helpers: others may work on one machine, and not in a checkout in /root."""
    holding = [path for path in FILES if path.is_relative_to(ROOT / "tests") and text in path.read_text()]
    assert {str(path.relative_to(ROOT)) for path in holding} - {"tests/test_layout.py"} == {home}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_reads_in_one_sitting(path: Path) -> None:
    """Files hold one idea: none is longer than a few screens."""
    lines = [line for line in path.read_text().splitlines() if "SPDX-License-Identifier: " not in line]
    assert len(lines) <= MAX_LINES
