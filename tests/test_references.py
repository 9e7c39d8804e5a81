# SPDX-License-Identifier: Apache-2.0
"""The files, modules, functions and classes that pages, docstrings and comments name exist.

Decision records and the changelog tell history and are left out.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from pathlib import Path
from tokenize import COMMENT, generate_tokens
from typing import TYPE_CHECKING

import pytest

from geodrop import config
from geodrop.document.keys import paths
from geodrop.policy import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "agent" / "geodrop"
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "tests/README.md")),
]
SOURCES = [
    path
    for folder in (PACKAGE, ROOT / "deploy", ROOT / "docs", ROOT / "tests")
    for path in sorted(folder.rglob("*.py"))
]

IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
SOURCE_FILE = re.compile(r"(?<![\w./*-])((?:[\w-]+/)*[\w-][\w.-]*\.(?:py|h|c))(?::([A-Za-z_]\w*(?:\.\w+)*))?(?![\w/*])")
"""A source file, and perhaps a name in it: `geo/mmdb.py`, `bpf/judge.h:denied_by`, `state/store.py:Store.keep`."""
DOTTED = re.compile(r"(?<![\w./*@-])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?![\w./*-]*\w)")
IMPORTED = re.compile(r"\bfrom ((?:geodrop|tests)(?:\.\w+)*) import (\w+(?:, \w+)*)")

FOREIGN_HEADER = re.compile(
    r"(?:asm|asm-generic|bpf|drivers|include|kernel|libnftnl|linux|net|sys)/[\w/]+\.[hc]|(?:bpf_helpers|sysexits|udata)\.h"
)
"""Headers and sources of the kernel and of libraries, which docstrings cite as sources."""

KEYS = {path for keys in (config.KEYS, parse.KEYS) for path, _ in paths(keys)}
"""`keep.rulesets` and others: keys of files."""

NOT_CODE = {
    "xdp.frags": "a section of an ELF file",
    "api.CN.ipv4.dropped": "a counter of nftables",
    "api.ipv4.accepted": "a counter of nftables",
    "ansible.builtin": "a collection of Ansible",
    "ansible.builtin.command": "a module of Ansible",
    "geodrop.edge": "a collection of Ansible",
    "geodrop.edge.looked": "a filter",
    "geodrop.edge.rollout": "a playbook",
    "geodrop.edge.status": "a playbook",
    "geodrop.edge.geodrop": "a role",
}
"""Text that looks like one of our names and is not: what it is instead."""

EXTENSIONS = {
    *("c", "fish", "h", "in", "ini", "json", "jsonl", "lock", "md", "o", "prom", "py", "service", "sock", "socket"),
    *("toml", "txt", "xz", "yaml", "yml"),
}
"""File name endings: `policy.yaml` is no attribute of a module."""


@dataclass
class Code:
    """The names that a tree of Python files defines: modules by their dotted path, and all classes."""

    modules: dict[str, set[str]] = field(default_factory=dict)
    classes: dict[str, set[str]] = field(default_factory=dict)
    bases: dict[str, list[str]] = field(default_factory=dict)
    known: dict[str, bool | None] = field(default_factory=dict)

    def add(self, module: str, tree: ast.Module) -> None:
        """Add what a module and its classes define or import."""
        self.modules[module] = set(_defined(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                self.classes.setdefault(node.name, set()).update(_defined(node))
                self.bases[node.name] = [ast.unparse(base) for base in node.bases]

    def has(self, dotted: str) -> bool | None:
        """Return whether one of our names exists; None if it begins like none of ours."""
        if dotted not in self.known:
            self.known[dotted] = self._has(dotted)
        return self.known[dotted]

    def _has(self, dotted: str) -> bool | None:
        first, *rest = dotted.split(".")
        if first in self.classes:
            return len(rest) > 1 or self._is_attribute(first, rest[0])
        found: bool | None = None
        for module, names in self.modules.items():
            parts = module.split(".")
            if first not in parts[:-1] and first != parts[-1]:
                continue
            # A name may leave out the rooms above it: `repair.inspect` for `geodrop.operations.repair.inspect`.
            for begin in (at for at, part in enumerate(parts) if part == first):
                found = found or self._is_in(parts[begin:], names, dotted.split("."))
        return found

    def _is_attribute(self, of_class: str, name: str) -> bool:
        """Return whether our class has the attribute.

        An attribute inherited from a foreign class is assumed to exist.
        """
        if of_class not in self.classes:
            return of_class != "Protocol"
        return name in self.classes[of_class] or any(self._is_attribute(base, name) for base in self.bases[of_class])

    def _is_in(self, module: list[str], names: set[str], wanted: list[str]) -> bool:
        if wanted == module[: len(wanted)]:
            return True
        if wanted[: len(module)] != module or wanted[len(module)] not in names:
            return False
        inner = wanted[len(module) :]
        return len(inner) == 1 or inner[0] not in self.classes or self._is_attribute(inner[0], inner[1])


def _defined(node: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Return what a module or a class defines, and for a class what its methods set on `self`."""
    if isinstance(node, ast.ClassDef):
        yield from (
            inner.attr
            for inner in ast.walk(node)
            if isinstance(inner, ast.Attribute) and ast.unparse(inner.value) == "self"
        )
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield inner.name
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in inner.names)


@cache
def code() -> Code:
    """Return all that the package and the tests define."""
    found = Code()
    for path in SOURCES:
        inside = path.relative_to(ROOT / "agent" if path.is_relative_to(PACKAGE) else ROOT).with_suffix("")
        parts = [part for part in inside.parts if part != "__init__"]
        found.add(".".join(parts), ast.parse(path.read_text(encoding="utf-8")))
    return found


def home(name: str) -> Path | None:
    """Return the named file, relative to the top of the tree, agent/geodrop/ or tests/."""
    return next((path for path in (ROOT / name, PACKAGE / name, ROOT / "tests" / name) if path.is_file()), None)


def defines(path: Path, name: str) -> bool:
    """Return whether a source file defines this name: a function, a class, a method, or a C function."""
    if path.suffix != ".py":
        return re.search(rf"^[^\n/*#]*\b{name}\(", path.read_text(encoding="utf-8"), re.MULTILINE) is not None
    node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for part in name.split("."):
        assert isinstance(node, ast.Module | ast.ClassDef), f"{path}: {name}"
        inside = [
            inner
            for inner in node.body
            if getattr(inner, "name", None) == part
            or (isinstance(inner, ast.Assign) and part in map(ast.unparse, inner.targets))
            or (isinstance(inner, ast.AnnAssign) and ast.unparse(inner.target) == part)
        ]
        if not inside:
            return False
        node = inside[-1]
    return True


def missing(text: str, *, prose: bool) -> Iterator[str]:
    """Yield the names in a text that do not exist. In the `prose` of a page only text in backticks may be a module."""
    if prose:
        text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for name, inside in SOURCE_FILE.findall(text):
        path = home(name)
        foreign = FOREIGN_HEADER.fullmatch(name) and path is None
        if not foreign and (path is None or (inside and not defines(path, inside))):
            yield f"{name}:{inside}" if inside else name
    for place in IN_BACKTICKS.findall(text) if prose else [text]:
        for dotted in DOTTED.findall(place):
            file = dotted.rpartition(".")[2] in EXTENSIONS
            if not file and dotted not in KEYS | NOT_CODE.keys() and code().has(dotted) is False:
                yield dotted
    for name in re.findall(r"`([A-Z]\w*[a-z]\w*)\.\w+", text):
        if name not in code().classes:
            yield name
    for module, names in IMPORTED.findall(text):
        yield from (f"{module}.{name}" for name in names.split(", ") if not code().has(f"{module}.{name}"))


def explanations(path: Path) -> Iterator[str]:
    """Yield the docstrings and comments of a file, and the strings that describe its constants."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    yield from (token.string for token in generate_tokens(StringIO(text).readline) if token.type == COMMENT)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_name_what_exists(page: Path) -> None:
    """Every file, module or function that a page names exists."""
    assert not list(missing(page.read_text(encoding="utf-8"), prose=True))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_name_what_exists(path: Path) -> None:
    """Every name in a docstring or a comment exists."""
    assert not [name for text in explanations(path) for name in missing(text, prose=False)]


def test_paths_that_are_given_to_commands_exist() -> None:
    """Every path that the Makefile and the tests pass to pytest and other tools exists."""
    given = set(re.findall(r"(?<![\w/.-])tests/[\w/.*-]+", (ROOT / "Makefile").read_text(encoding="utf-8")))
    for path in SOURCES:
        strings = (one.value for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.Constant))
        given.update(one for one in strings if isinstance(one, str) and re.fullmatch(r"tests/[\w/.*-]+", one))
    assert {"tests/system/test_install.py", "tests/conformance/test_engines.py"} <= given
    assert not {name for name in given if not any(ROOT.glob(name.rstrip("/")))}


def test_programs_that_tests_start_import_what_exists() -> None:
    """No import checker sees a program in a string; it would fail only where it runs, such as on a machine."""
    missed = []
    for path in SOURCES:
        strings = (one.value for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.Constant))
        for module, names in IMPORTED.findall("\n".join(one for one in strings if isinstance(one, str))):
            missed += [f"{path}: {module}.{one}" for one in names.split(", ") if not code().has(f"{module}.{one}")]
    assert not missed
