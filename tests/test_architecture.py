"""Imports go one way: design.md's flow, as a table that a wrong import cannot slip past."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "agent" / "geodrop"

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "text": set(),
    "messages": {"errors", "text"},
    "inputs": set(),
    "document": {"errors", "text"},
    "policy": {"errors", "document"},
    "geo": {"errors", "policy", "document"},
    "ruleset": {"errors", "inputs", "policy"},
    "compile": {"errors", "text", "inputs", "messages", "document", "policy", "geo", "ruleset"},
    "state": {"errors", "inputs", "ruleset"},
    "control": {"errors", "state"},
    "config": {"errors", "inputs", "document", "state"},
    "dataplane": {"errors", "ruleset", "state", "config"},
    "report": {"errors", "ruleset", "state", "config", "dataplane"},
    "daemon": {"errors", "text", "inputs", "compile", "control", "ruleset", "state", "config", "dataplane", "report"},
    "data": {"errors"},
    "demo": {"errors", "messages", "data", "state"},
    "cli": {"errors", "text", "messages", "policy", "ruleset", "compile", "state", "config", "dataplane", "demo"}
    | {"control", "report", "daemon"},
    "__main__": {"cli"},
}
"""Each room (a folder or a file of the package) and the rooms it may import, itself apart."""

TYPES_ONLY = {("errors", "document")}
"""Imports that only a type checker follows, allowed beyond the table: some errors carry the problems of a document."""

LIBRARIES: dict[str, set[str]] = {
    "numpy": {"geo", "compile"},
    "maxminddb": {"geo"},
    "yaml": {"document"},
    "bcc": {"dataplane"},
    "structlog": {"daemon"},
    "prometheus_client": {"daemon"},
    "pyroute2": {"dataplane"},
}
"""Each library and the rooms that may import it."""

PRINTING = {"messages.py", "cli/export.py", "demo", "dataplane/xdp/bcc_child.py", "daemon/log.py"}
"""Files and rooms that write by themselves: what all else goes through, data, the demo's own, what a child says to its
parent, and that the log could not be written.
"""

WRITING = {"sys.stdout.write", "sys.stderr.write", "traceback.print_exc"}

UNTRUSTED_INPUT = {"numpy", "maxminddb", "geodrop.geo", "geodrop.compile.build", "geodrop.policy.parse"}
"""What reads databases and policies: never inside a process with privileges."""

PRIVILEGED = (
    *("check", "compile", "run", "reload", "load", "unload", "rollback", "history", "pause", "resume"),
    *("explain", "export", "status", "counters", "verify", "doctor", "demo"),
)
"""The verbs: all of them may be started by root. Those that compile do it in the unprivileged child."""


def sources() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The room a file belongs to: the first folder, or the file itself at the top."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module a file imports, anywhere in it, and whether only a type checker sees the import."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.If) and ast.unparse(outer.test) == "TYPE_CHECKING"
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            # `from geodrop import messages` imports geodrop.messages; `from geodrop.errors import X` does not.
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "geodrop" else [module]
            yield from ((name, id(node) in for_types) for name in names)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """No file imports a room that the table does not give to its own."""
    own = room(path)
    if own == "__init__":
        assert not list(imports(path)), "the package itself imports nothing: everybody pays for it"
        return
    for name, for_types in imports(path):
        if not name.startswith("geodrop."):
            continue
        other = name.split(".")[1]
        if other not in ROOMS:
            # A name of the package itself, such as its version.
            assert other.startswith("__"), f"{path}: {name} is in no room"
            continue
        allowed = other == own or other in ROOMS[own] or (for_types and (own, other) in TYPES_ONLY)
        assert allowed, f"{path.relative_to(PACKAGE)} imports {name}; {own} may import {sorted(ROOMS[own])}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    """Each library is imported only where it belongs, so that replacing one touches one room."""
    for name, _ in imports(path):
        library = name.split(".")[0]
        if library not in LIBRARIES:
            assert library in {"geodrop", *sys.stdlib_module_names}, f"{path}: {library} is in no room"
            continue
        assert room(path) in LIBRARIES[library], f"{path} imports {name}; only {sorted(LIBRARIES[library])} may"


def prints(path: Path) -> Iterator[ast.Call]:
    """Every call that writes something to a terminal but JSON, which escapes what could steer one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            json = all(isinstance(one, ast.Call) and ast.unparse(one.func) == "json.dumps" for one in node.args)
            if name in {"sys.stdout.write", "sys.stderr.write", "traceback.print_exc"} or (
                name == "print" and not json
            ):
                yield node


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_text_for_people_goes_one_way(path: Path) -> None:
    """Nothing is printed but through `messages`, which lets no text of somebody else's steer a terminal."""
    inside = path.relative_to(PACKAGE)
    found = [f"{path}:{node.lineno}" for node in prints(path)]
    assert not found or {str(inside), inside.parts[0]} & PRINTING, found


def test_the_table_has_no_cycle() -> None:
    """The rooms can be put in an order in which each imports only earlier ones."""
    left = dict(ROOMS)
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        assert free, f"these import each other: {sorted(left)}"
        for name in free:
            del left[name]


@pytest.mark.parametrize("verb", PRIVILEGED)
def test_importing_a_verb_brings_no_reader_of_untrusted_input(verb: str) -> None:
    """What a verb imports, directly or not, contains nothing that parses a database or a policy."""
    command = f"import sys, geodrop.cli.{verb}; print(*sys.modules, sep='\\n')"
    listing = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout
    assert not UNTRUSTED_INPUT & set(listing.split())


def test_every_verb_is_covered() -> None:
    """The list above is the list of verbs: a new verb has to be added to it."""
    verbs = {path.stem for path in (PACKAGE / "cli").glob("*.py")} - {"__init__", "main", "numbers", "glass"}
    assert set(PRIVILEGED) == verbs


OPENS_BY_ITSELF = {
    "inputs.py": "it is what opens",
    "cli/main.py": "/dev/null, to write to",
    "compile/sandbox.py": "folders, and /dev/null",
    "compile/relay.py": "/dev/null",
    "ruleset/container.py": "sealed memory, by its descriptor",
    "compile/child.py": "a descriptor to write to",
    "state/files.py": "to write, in our own folder",
    "state/places.py": "/proc",
    "state/run_folder.py": "the lock and what stands beside it, in the folder under /run",
    "state/room.py": "to write, in our own folder",
    "state/leftovers.py": "a folder of ours",
    "daemon/socket_file.py": "a socket of ours",
    "dataplane/xdp/libbpf_loader.py": "a file of the package",
    "dataplane/xdp/bcc_loader.py": "files of the package",
    "dataplane/xdp/bcc_child.py": "files of the package",
    "dataplane/capabilities.py": "/proc",
    "dataplane/xdp/memory.py": "/proc",
    "dataplane/doctor/bpf.py": "/proc",
    "dataplane/ipsec.py": "/proc",
    "dataplane/network_events.py": "/proc",
    "dataplane/nftables/changes.py": "/proc",
}
"""Files that open something without geodrop.inputs, and what that is."""


def opens(path: Path) -> bool:
    """Whether a file calls anything that opens a file by name for reading."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        first = ast.unparse(node.args[0]) if node.args else ""
        if called in {"open", "os.open", "io.open"} and not first.startswith(("open_regular(", "descriptor")):
            return True
        if called.endswith((".read_bytes", ".read_text")) or (called.endswith(".open") and first in {"'r'", "'rb'"}):
            return True
    return False


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_inputs_are_opened_in_one_place(path: Path) -> None:
    """A FIFO, a device or a file that never ends cannot make anybody wait: what others name is opened by inputs.py."""
    name = str(path.relative_to(PACKAGE))
    if room(path) != "demo":
        assert opens(path) == (name in OPENS_BY_ITSELF), f"{name}: open files by geodrop.inputs"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_kept_rulesets_are_opened_by_digest(path: Path) -> None:
    """What has the name of a digest may be another file: `Store.ruleset` looks."""
    if path.relative_to(PACKAGE) != Path("state/store.py"):
        assert "Ruleset.open(store.ruleset_path" not in path.read_text(), "use Store.ruleset"
