# SPDX-License-Identifier: Apache-2.0
"""The child answers on its original standard output only, and tells bcc from another package of that name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from geodrop.xdp.bcc_loader import CHILD, PACKAGES

if TYPE_CHECKING:
    from pathlib import Path

BCC = """
import os
print("printed")
os.write(1, b"written")
class BPF:
    def __init__(self, **_):
        raise Exception("Failed to compile")
__version__ = "0.99"
"""


def ask(bcc: str | None, request: object, folder: Path, parent: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the child with a fake module bcc of this content; with None, without any."""
    (folder / "bcc.py").write_text("raise ImportError('no bcc here')" if bcc is None else bcc)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {CHILD}", str(PACKAGES)]
    command.append(str(parent or os.getpid()))
    return subprocess.run(command, input=json.dumps(request), text=True, capture_output=True, check=False)


def test_what_bcc_prints_is_no_answer(tmp_path: Path) -> None:
    """What bcc prints goes to standard error."""
    done = ask(BCC, {}, tmp_path)
    assert json.loads(done.stdout) == {"bcc": "0.99"}
    assert "printed" in done.stderr
    assert "written" in done.stderr


def test_nothing_is_built_if_the_parent_has_ended(tmp_path: Path) -> None:
    """The parent may end before the child asks for the signal; no process would remove what the child pins."""
    done = ask(BCC, {}, tmp_path, parent=os.getppid())
    assert (done.returncode, done.stdout) == (1, "")
    assert "the process that asked has ended" in done.stderr


@pytest.mark.parametrize(
    ("bcc", "words"),
    [(None, "has no bcc (no bcc here)"), ("", "is not the BPF Compiler Collection")],
)
def test_a_missing_bcc_is_named(bcc: str | None, words: str, tmp_path: Path) -> None:
    """The PyPI package called bcc is an unrelated library."""
    answer = json.loads(ask(bcc, {}, tmp_path).stdout)
    assert answer["error"] == "UnavailableError"
    assert words in answer["message"]
    assert "python3-bpfcc" in answer["next_step"]


def test_a_failed_compilation_is_no_answer(tmp_path: Path) -> None:
    """Standard error ends with bcc's message, without a traceback."""
    (tmp_path / "geodrop.bpf.c").write_text("")
    done = ask(BCC, {"source": str(tmp_path), "folder": "/nowhere", "flags": []}, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("Exception: Failed to compile\n")
    assert "Traceback" not in done.stderr
