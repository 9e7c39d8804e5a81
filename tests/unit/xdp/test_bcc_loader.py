# SPDX-License-Identifier: Apache-2.0
"""Errors if the child's Python, bcc or headers are missing, and if the child ends without an answer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.xdp import bcc_loader
from geodrop.xdp.bcc_loader import BccLoader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_numbers = itertools.count()


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], str]:
    """Yield a function that makes an executable to replace the system's Python, from a line of shell."""

    def make(line: str) -> str:
        path = tmp_path / f"python{next(_numbers)}"
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        return str(path)

    return make


def answers(version: str) -> str:
    """Return a line that answers like the child when asked for bcc's version."""
    return f"""echo '{{"bcc": "{version}"}}'"""


def test_a_missing_python_is_named(tmp_path: Path) -> None:
    """The Python meant is the system's, not the one that geodrop runs under."""
    with pytest.raises(UnavailableError, match="python3 is not there"):
        BccLoader(python=str(tmp_path / "python3")).version()


def test_missing_headers_are_named(python: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package with the headers, before anything is compiled."""
    monkeypatch.setattr(bcc_loader, "NEEDED", ("linux/nowhere.h",))
    with pytest.raises(UnavailableError, match=r"linux/nowhere\.h is in none of .*linux-libc-dev"):
        BccLoader(python=python(answers("1"))).version()


def test_what_the_child_raises_is_raised_here(python: Callable[[str], str]) -> None:
    """The error keeps its class, message and next step."""
    line = """echo '{"error": "PrivilegeError", "message": "may not", "next_step": "be root"}'"""
    with pytest.raises(PrivilegeError, match="may not; be root"):
        BccLoader(python=python(line)).version()


def test_a_child_without_an_answer_is_quoted(python: Callable[[str], str]) -> None:
    """The error shows the end of what the child printed, and how the child ended."""
    lines = "for n in $(seq 100); do echo line $n >&2; done; exit 1"
    with pytest.raises(UnavailableError, match=r"(?s)exit 1.*line 61\n.*line 100; write  loader: libbpf") as caught:
        BccLoader(python=python(lines)).version()
    assert "line 60\n" not in str(caught.value)
    with pytest.raises(UnavailableError, match="killed by signal 9"):
        BccLoader(python=python("kill -9 $$")).version()


def test_a_child_that_hangs_is_ended(python: Callable[[str], str]) -> None:
    """The child is ended after its time limit."""
    with pytest.raises(UnavailableError, match=r"had not built the XDP program after 0\.2 s and was ended"):
        bcc_loader._ask(python("exec sleep 60"), {}, 0.2)


def test_the_version_is_that_of_source_and_bcc(python: Callable[[str], str], tmp_path: Path) -> None:
    """A change of source, of headers for bcc, or of bcc gives another version; otherwise it stays the same."""
    source = tmp_path / "source"
    (source / "bcc").mkdir(parents=True)
    (source / "geodrop.bpf.c").write_text("one")
    (source / "bcc" / "kconfig.h").write_text("one")
    one, two = python(answers("1")), python(answers("2"))
    versions = [BccLoader(source, one).version(), BccLoader(source, two).version()]
    assert BccLoader(source, one).version() == versions[0]
    for name in ("geodrop.bpf.c", "bcc/kconfig.h"):
        (source / name).write_text("two")
        versions.append(BccLoader(source, one).version())
    assert len(set(versions)) == 4
    assert all(int(version, 16) >= 0 and len(version) == 12 for version in versions)


def test_a_missing_source_is_named(python: Callable[[str], str], tmp_path: Path) -> None:
    """An installation may have lost files."""
    with pytest.raises(UnavailableError, match="holds no program; install geodrop again"):
        BccLoader(tmp_path / "none", python(answers("1"))).version()
