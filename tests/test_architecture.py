# SPDX-License-Identifier: Apache-2.0
"""Imports follow the order in design.md: a table of rooms that no wrong import can slip past."""

from __future__ import annotations

import ast
import collections
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "agent" / "geodrop"
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"

BASE = {"addresses", "columns", "errors", "formats", "inputs", "linux", "text", "utc"}
"""The rooms that use nothing else of geodrop: any room above them may import them."""

ROOMS: dict[str, set[str]] = {
    "columns": set(),
    "errors": set(),
    "formats": {"errors"},
    "addresses": set(),
    "text": set(),
    "utc": set(),
    "linux": {"errors"},
    "inputs": {"linux"},
    "messages": BASE,
    "document": BASE,
    "policy": BASE | {"document"},
    "geo": BASE | {"policy", "document"},
    "ruleset": BASE | {"policy"},
    "signature": BASE | {"ruleset"},
    "simulate": BASE | {"ruleset"},
    "compile": BASE | {"messages", "document", "policy", "geo", "ruleset", "simulate"},
    "state": BASE | {"ruleset"},
    "control": BASE | {"state"},
    "config": BASE | {"document", "state"},
    "engine": BASE | {"ruleset", "state", "config"},
    "nftables": BASE | {"ruleset", "engine"},
    "xdp": BASE | {"ruleset", "state", "engine"},
    "dataplane": BASE | {"ruleset", "state", "config", "engine", "nftables", "xdp"},
    "operations": BASE | {"ruleset", "signature", "state", "config", "engine", "nftables", "dataplane"},
    "doctor": BASE | {"ruleset", "signature", "state", "config", "engine", "nftables", "xdp", "dataplane"},
    "report": BASE | {"ruleset", "state", "config", "engine", "dataplane", "operations"},
    "fleet": BASE | {"ruleset", "report"},
    "plan": BASE | {"ruleset"},
    "daemon": BASE
    | {"compile", "control", "ruleset", "signature", "state", "config", "engine", "nftables"}
    | {"dataplane", "operations", "report", "plan"},
    "data": BASE,
    "demo": BASE | {"messages", "data", "state"},
    "cli": BASE
    | {"messages", "policy", "ruleset", "signature", "compile", "state", "config", "nftables", "demo"}
    | {"operations", "doctor", "control", "report", "fleet", "plan", "daemon"},
    "__main__": {"cli"},
}
"""Each room (a folder or a file of the package) and the rooms it may import besides itself."""

TYPES_ONLY = {("errors", "document")}
"""Imports for type checking only, allowed beyond the table: some errors carry the problems of a document."""

LIBRARIES: dict[str, set[str]] = {
    "numpy": {"geo", "compile", "simulate"},
    "maxminddb": {"geo"},
    "geoip2": {"geo"},
    "yaml": {"document"},
    "bcc": {"xdp"},
    "structlog": {"daemon"},
    "prometheus_client": {"daemon"},
    "pyroute2": {"linux"},
}
"""Each library and the rooms that may import it."""

PRINTING = {"messages.py", "cli/export.py", "demo", "xdp/bcc_child.py", "daemon/log.py"}
"""Files and rooms that write by themselves: the one module for all messages, exported data, the demo's screen, a
child's messages to its parent, and the report that the log cannot be written.
"""

WRITING = {"sys.stdout.write", "sys.stderr.write", "traceback.print_exc"}

UNTRUSTED_INPUT = {
    "numpy",
    "maxminddb",
    "geoip2",
    "geodrop.geo",
    "geodrop.compile.build",
    "geodrop.policy.parse",
    "geodrop.simulate",
}
"""What reads databases, policies and logs: never imported in a privileged process."""

PRIVILEGED = (
    *("check", "compile", "run", "plan", "reload", "load", "unload", "rollback", "history", "pause", "resume"),
    *("confirm", "exempt", "explain", "regions", "simulate", "export", "status", "fleet", "counters", "verify"),
    *("doctor", "demo"),
)
"""The verbs: root may start each of them. Verbs that compile do it in an unprivileged child."""

WITH_PYROUTE2 = {"run", "demo"}
"""Verbs that always need pyroute2: one listens to interfaces, the other makes some."""


def sources() -> list[Path]:
    """Yield every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """Return the room of a file: the first folder, or the file itself at the top."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield every module that a file imports, anywhere in it, and whether the import is for type checking only."""
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
            # `from geodrop import messages` imports geodrop.messages; `from geodrop.text import shown` does not.
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "geodrop" else [module]
            yield from ((name, id(node) in for_types) for name in names)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """No file imports a room that the table does not allow its own room."""
    own = room(path)
    if own == "__init__":
        assert not list(imports(path)), "the package itself imports nothing: everybody pays for it"
        return
    for name, for_types in imports(path):
        if not name.startswith("geodrop."):
            continue
        other = name.split(".")[1]
        if other not in ROOMS:
            # The name belongs to the package itself, such as its version.
            assert other.startswith("__"), f"{path}: {name} is in no room"
            continue
        allowed = other == own or other in ROOMS[own] or (for_types and (own, other) in TYPES_ONLY)
        assert allowed, f"{path.relative_to(PACKAGE)} imports {name}; {own} may import {sorted(ROOMS[own])}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    """Each library is imported only in its room, so that replacing it changes one room."""
    for name, _ in imports(path):
        library = name.split(".")[0]
        if library not in LIBRARIES:
            assert library in {"geodrop", *sys.stdlib_module_names}, f"{path}: {library} is in no room"
            continue
        assert room(path) in LIBRARIES[library], f"{path} imports {name}; only {sorted(LIBRARIES[library])} may"


def prints(path: Path) -> Iterator[ast.Call]:
    """Yield every call that writes to a terminal, except JSON, which escapes control characters."""
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
    """Everything is printed through `messages`, which lets no foreign text control a terminal."""
    inside = path.relative_to(PACKAGE)
    found = [f"{path}:{node.lineno}" for node in prints(path)]
    assert not found or {str(inside), inside.parts[0]} & PRINTING, found


def test_a_class_name_is_used_once() -> None:
    """A class name means one thing in the whole package, so a search finds the right one."""
    homes = collections.defaultdict(list)
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_no_room_is_a_house() -> None:
    """No room has more than a fifth of the lines: a larger one holds more than one idea."""
    lines = collections.Counter[str]()
    for path in sources():
        lines[room(path)] += len(path.read_text().splitlines())
    name, most = lines.most_common(1)[0]
    assert most * 5 <= lines.total(), f"{name} holds {most} of {lines.total()} lines"


def test_the_table_has_no_cycle() -> None:
    """The rooms can be put in an order in which each imports only earlier ones."""
    left = dict(ROOMS)
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        assert free, f"these import each other: {sorted(left)}"
        for name in free:
            del left[name]


def the_house() -> tuple[list[list[str]], list[tuple[list[str], str]]]:
    """Read design.md's picture and table of the rooms: each line, with the rooms under their names here."""
    _, _, section = DESIGN.read_text(encoding="utf-8").partition("## The house\n")
    _, picture, table = section.partition("\n## ")[0].split("```")
    lines = [
        [name.strip("/").removesuffix(".py") for name in re.findall(r"\w+(?:/|\.py)", line)]
        for line in picture.splitlines()
    ]
    rows = [row.split(" | ") for row in re.findall(r"^\| (`.+) \|$", table, re.MULTILINE)]
    return lines, [(re.findall(r"`(\w+)(?:/|\.py)`", names), needs) for names, _, needs in rows]


def test_the_picture_shows_the_house() -> None:
    """The picture has every room once, and each room imports only rooms below it."""
    lines, _ = the_house()
    height = {name: number for number, line in enumerate(lines) for name in line}
    assert sorted(name for line in lines for name in line) == sorted(ROOMS.keys() - {"__main__"})
    assert not [(one, other) for one in height for other in ROOMS[one] if height[other] <= height[one]]


def test_the_table_of_the_rooms_is_true() -> None:
    """The table has every room once, and a room may import those it is said to rest on."""
    _, rows = the_house()
    assert sorted(name for names, _ in rows for name in names) == sorted(ROOMS.keys() - {"__main__"})
    for names, needs in rows:
        for name in names:
            said = set(re.findall(r"\w+", needs)) & (ROOMS.keys() | LIBRARIES.keys())
            assert said <= ROOMS[name] | {library for library, rooms in LIBRARIES.items() if name in rooms} | {"yaml"}


@pytest.mark.parametrize("verb", PRIVILEGED)
def test_importing_a_verb_brings_no_reader_of_untrusted_input(verb: str) -> None:
    """A verb imports, directly or not, nothing that parses a database or a policy.

    Only the verbs that need pyroute2 import it: a command that asks the daemon would wait for its import. Imports that
    happen while a verb runs are checked by tests/system/test_privileged_imports.py.
    """
    command = f"import sys, geodrop.cli.{verb}; print(*sys.modules, sep='\\n')"
    listing = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout
    modules = set(listing.split())
    assert not UNTRUSTED_INPUT & modules
    assert ("pyroute2" in modules) == (verb in WITH_PYROUTE2)


def test_every_verb_is_covered() -> None:
    """The list of verbs above is complete: a new verb has to be added to it."""
    others = {"__init__", "main", "audit", "change", "glass", "numbers", "options", "unconfirmed"}
    verbs = {path.stem for path in (PACKAGE / "cli").glob("*.py")} - others
    assert set(PRIVILEGED) == verbs


OPENS_BY_ITSELF = {
    "inputs.py": "it is what opens",
    "cli/main.py": "/dev/null, to write to",
    "compile/sandbox.py": "folders, and /dev/null",
    "compile/relay.py": "/dev/null",
    "ruleset/container.py": "sealed memory, by its descriptor",
    "signature/ssh_keygen.py": "sealed memory, by its descriptor",
    "compile/child.py": "a descriptor to write to",
    "linux/source_routes.py": "/proc",
    "state/files.py": "to write, in our own folder",
    "state/places.py": "/proc",
    "state/run_folder.py": "the lock and what stands beside it, in the folder under /run",
    "state/room.py": "to write, in our own folder",
    "state/leftovers.py": "a folder of ours",
    "daemon/socket_file.py": "a socket of ours",
    "xdp/libbpf_loader.py": "a file of the package",
    "xdp/bcc_loader.py": "files of the package",
    "xdp/bcc_child.py": "files of the package",
    "linux/capabilities.py": "/proc",
    "xdp/memory.py": "/proc",
    "doctor/bpf.py": "/proc",
    "linux/clock.py": "/proc",
    "linux/ipsec.py": "/proc",
    "linux/namespace.py": "/proc",
    "linux/network_events.py": "/proc",
    "nftables/netlink/monitor.py": "/proc",
}
"""Files that open something without geodrop.inputs, and what they open."""


def opens(path: Path) -> bool:
    """Return whether a file calls anything that opens a file by name for reading."""
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
    """A FIFO, a device or an endless file cannot block geodrop: files that users name are opened by inputs.py."""
    name = str(path.relative_to(PACKAGE))
    if room(path) != "demo":
        assert opens(path) == (name in OPENS_BY_ITSELF), f"{name}: open files by geodrop.inputs"


def test_the_clock_that_nobody_can_set_is_read_in_one_place() -> None:
    """Deadlines in the kernel are by its own CLOCK_MONOTONIC; a process in a time namespace reads another one."""
    reading = {str(path.relative_to(PACKAGE)) for path in sources() if "monotonic_ns" in path.read_text()}
    assert reading == {"linux/clock.py", "daemon/notify.py"}  # systemd wants the one of the process


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_kept_rulesets_are_opened_by_digest(path: Path) -> None:
    """A file named by a digest may have other content: `Store.ruleset` checks it."""
    if path.relative_to(PACKAGE) != Path("state/store.py"):
        assert "Ruleset.open(store.ruleset_path" not in path.read_text(), "use Store.ruleset"
