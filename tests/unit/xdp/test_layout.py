# SPDX-License-Identifier: Apache-2.0
"""User space and the program agree on every layout, as the program's own compiler sees it."""

from __future__ import annotations

import ctypes
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from geodrop.compile import xdp as compiled
from geodrop.xdp import layout

ROOT = Path(__file__).parents[3]
HEADERS = "\n".join((ROOT / "bpf" / name).read_text() for name in ("layout.h", "lookup.h"))

STRUCTURES = {
    "service": layout.ServiceLayout,
    "selection": layout.SelectionLayout,
    "local": layout.LocalLayout,
    "policy": layout.PolicyLayout,
    "window": layout.WindowLayout,
    "control": layout.ControlLayout,
    "counter": layout.CounterLayout,
    "question": layout.QuestionLayout,
    "questions": layout.QuestionsLayout,
}


def constant(name: str) -> int:
    """Return the value of a #define or an enumerator in the headers; arithmetic and other names are resolved."""
    found = re.search(rf"^\s*(?:#define {name}\s+|{name} = )(.+?)(?:,|/\*|$)", HEADERS, re.MULTILINE)
    assert found, name
    text = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)ULL\b", r"\1", found[1])
    opened = re.sub(r"[A-Z][A-Z0-9_]+", lambda match: str(constant(match[0])), text)
    return int(eval(opened, {"__builtins__": {}}))  # noqa: S307 - our own header


def check(name: str, size: int, offsets: dict[str, int]) -> None:
    """Have the program's compiler check size and offsets of a structure in the headers."""
    claims = [f'_Static_assert(sizeof(struct {name}) == {size}, "size");']
    claims += [
        f'_Static_assert(__builtin_offsetof(struct {name}, {field}) == {at}, "{field}");'
        for field, at in offsets.items()
    ]
    source = '#include "layout.h"\n' + "\n".join(claims)
    includes = [f"-I{ROOT / 'bpf'}", f"-I/usr/include/{platform.machine()}-linux-gnu"]
    command = ["clang", "-target", "bpf", *includes, "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_agree(name: str) -> None:
    """Each structure has the same size, and each field the same offset."""
    ours = STRUCTURES[name]
    check(name, ctypes.sizeof(ours), {field: getattr(ours, field).offset for field, *_ in ours._fields_})


@pytest.mark.parametrize(("name", "dtype"), [("entry", compiled.ENTRY), ("line", compiled.LINE)])
def test_tables_agree(name: str, dtype: Any) -> None:  # noqa: ANN401 - a numpy dtype
    """The records that the ruleset compiler writes have the program's layout."""
    check(name, dtype.itemsize, {field: offset for field, (_, offset) in dtype.fields.items()})


def test_a_layout_that_differs_is_found() -> None:
    """The comparison can fail."""
    with pytest.raises(AssertionError, match=r"static_assert|static assertion failed"):
        check("entry", 9, {})


@pytest.mark.parametrize(
    "name",
    [name for name in vars(layout) if name.isupper() and name not in {"ROOT_BYTES", "LINE_BYTES"}],
)
def test_constants_agree(name: str) -> None:
    """Each constant has the value that the header gives it."""
    assert getattr(layout, name) == constant(name)


@pytest.mark.parametrize(
    "name", ["ROOT_BITS", "KEY_BITS", "LINE_KEYS", "CHILD", "KEY_NEVER", "MAX_CHILDREN", "MAX_DEPTH"]
)
def test_the_compiler_agrees(name: str) -> None:
    """The ruleset compiler's constants have the header's values too."""
    assert getattr(compiled, name) == constant(name)
