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
    "simulate": BASE | {"ruleset"},
    "compile": BASE | {"messages", "document", "policy", "geo", "ruleset", "simulate"},
    "state": BASE | {"ruleset"},
    "control": BASE | {"state"},
    "config": BASE | {"document", "state"},
    "engine": BASE | {"ruleset", "state", "config"},
    "nftables": BASE | {"ruleset", "engine"},
    "xdp": BASE | {"ruleset", "state", "engine"},
    "dataplane": BASE | {"ruleset", "state", "config", "engine", "nftables", "xdp"},
    "operations": BASE | {"ruleset", "state", "config", "engine", "nftables", "dataplane"},
    "doctor": BASE | {"ruleset", "state", "config", "engine", "nftables", "xdp", "dataplane"},
    "report": BASE | {"ruleset", "state", "config", "engine", "dataplane", "operations"},
    "fleet": BASE | {"ruleset", "report"},
    "plan": BASE | {"ruleset"},
    "daemon": BASE
    | {"compile", "control", "ruleset", "state", "config", "engine", "nftables"}
    | {"dataplane", "operations", "report", "plan"},
    "data": BASE,
    "demo": BASE | {"messages", "data", "state"},
    "cli": BASE
    | {"messages", "policy", "ruleset", "compile", "state", "config", "nftables", "demo"}
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
    *("confirm", "exempt", "explain", "simulate", "export", "status", "fleet", "counters", "verify", "doctor", "demo"),
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
    "compile/child.py": "a descriptor to write to",
    "linux/source_routes.py": "/proc",
    "state/exemptions.py": "/proc",
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


BROAD = {"OSError", "Exception", "BaseException"}

PASSES_OVER = {
    "linux/source_routes.py: _is_set": "what cannot be read counts as allowed, and is told of",
    "ruleset/json_lines.py: JsonLines.of": "inet_pton says so of a text that is no address; it opens nothing",
    "cli/main.py: main": "a bug; the contract gives it a code",
    "compile/child.py: do": "a bug; the contract gives it a code",
    "compile/relay.py: _pass_on": "either side has ended, and the child's end is told by its exit",
    "compile/relay.py: _show": "the terminal has gone, or the child",
    "compile/sandbox.py: Child.is_fit": "another child is started, which opens the databases and says what is wrong",
    "compile/sandbox.py: Child.prepare": "the child has died; the next job finds that out",
    "daemon/autoreload.py: look": "what cannot be looked at counts as missing: nothing is reloaded before it is there",
    "daemon/exporter.py: _File.serve": "what is written says when, and an alert watches that",
    "daemon/exporter.py: _send": "the client has gone",
    "daemon/listener.py: OpenConnection.offer": "the client has gone",
    "daemon/listener.py: Listener._accept": "who connects goes on waiting in the kernel's queue",
    "daemon/listener.py: Listener._few_are_left": "none is left: that is the answer",
    "daemon/metrics.py: KernelCollector.collect": "geodrop_up 0 is what it means",
    "daemon/notify.py: Notifier._say": "systemd notices by its watchdog",
    "daemon/server.py: Peer.of": "fewer groups are fewer rights",
    "daemon/server.py: _Door._outcome": "a bug in one verb, logged and answered as that",
    "daemon/watch/tally.py: Tally.run": "the last reading stays",
    "doctor/interfaces.py: driver": "a name to show, or none",
    "linux/journal.py: connect": "there is no journal; the caller is told so",
    "linux/journal.py: send": "the journal does not take it; the record is in the history",
    "linux/ipsec.py: _has_states": "None: not known, and the caller is told so",
    "linux/ipsec.py: _is_there": "then it is asked",
    "nftables/netlink/monitor.py: _made_by": "a change without the name of who made it is a change",
    "xdp/memory.py: available": "what is free is less than what is available",
    "state/announce.py: announce": "the log cannot be written; the record is in the history",
    "state/exemptions.py: Exemptions.read": "it is not known, which status tells of; the kernel is left alone",
    "state/exemptions.py: Exemptions._newer": "a file that cannot be read is told of as such",
    "state/files.py: sweep": "the next sweep finds it",
    "state/history.py: History._glance": "it counts as a line that cannot be read, which status tells of",
    "state/history.py: History._parsed": "it counts as a line that cannot be read, which status tells of",
    "state/history.py: History._waiting": "the line is linked when it is written, once the file can be read",
    "state/history.py: History.prune": "nothing is forgotten",
    "state/leftovers.py: remove_leftovers": "nothing is removed; the next start tries again",
    "state/lock.py: _gone": "the file is removed instead; where that fails it names a daemon that does not answer",
    "state/lock.py: exclusive": "the refusal then does not name the holder of the lock",
    "state/lock.py: last_state": "it is not known, and the usual place is named instead",
    "state/room.py: Room.take": "there is no room to reserve; the write that lacks it says so",
    "state/store.py: Store._file_differs": "it differs from whatever it should say",
    "state/store.py: Store._newer": "a file that cannot be read is told of as such",
    "state/store.py: Store._prune": "one more file stays",
    "state/store.py: Store.note": "it is written again, which says what is wrong",
    "state/store.py: Store.prune": "nothing is forgotten",
    "state/store.py: Store.retire": "it counts as retired earlier, which `keep` bounds",
    "state/unwritten.py: Unwritten._write": "this process keeps it, and says that no other knows",
    "state/unwritten.py: Unwritten.done": "this process knows better, and the next write replaces it",
    "state/unwritten.py: Unwritten.read": "nothing is known; a caller that decides by it asks `intent`, which raises",
}
"""Where any failure is ignored, whatever it is: the file, the function, and why that is right there."""


def is_broad(caught: ast.expr | None) -> bool:
    """Return whether these exceptions include everything that the system may raise."""
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(name is None or ast.unparse(name) in BROAD for name in names)


def says_nothing(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler neither raises nor looks at what it has caught."""
    inside = [node for line in handler.body for node in ast.walk(line)]
    looks = any(isinstance(node, ast.Name) and node.id == handler.name for node in inside)
    return not looks and not any(isinstance(node, ast.Raise) for node in inside)


def passed_over(node: ast.AST, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield every place below a node that ignores any failure: the function, and the line.

    Places below a handler that raises are left out: there another failure is already reported.
    """
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.ExceptHandler) and is_broad(inner.type):
            if not says_nothing(inner):
                continue
            yield name, inner.lineno
        if (
            isinstance(inner, ast.Call)
            and ast.unparse(inner.func).endswith("suppress")
            and any(map(is_broad, inner.args))
        ):
            yield name, inner.lineno
        inside = name
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{name}.{inner.name}".lstrip(".")
        yield from passed_over(inner, inside)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_failures_are_told_apart(path: Path) -> None:
    """Only named errors are ignored: `except OSError: pass` takes a lack of descriptors for a missing file."""
    inside = path.relative_to(PACKAGE)
    found = {f"{inside}: {name}": line for name, line in passed_over(ast.parse(path.read_text()))}
    new = {f"{name} (line {line})" for name, line in found.items() if name not in PASSES_OVER}
    assert not new, "name what is meant, such as FileNotFoundError or errors.Excused(errno.EBADF)"
    listed = {name for name in PASSES_OVER if name.startswith(f"{inside}: ")}
    assert listed <= found.keys(), "take these off the list"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("try: f()\nexcept OSError: pass", 1),
        ("try: f()\nexcept (KeyError, Exception): g()", 1),
        ("try: f()\nexcept: pass", 1),
        ("with suppress(KeyError, OSError): f()", 1),
        ("with contextlib.suppress(OSError), g(): f()", 1),
        ("try: f()\nexcept FileNotFoundError: pass", 0),
        ("try: f()\nexcept OSError as error: say(error)", 0),
        ("try: f()\nexcept OSError as error:\n  if error.errno != 2: raise", 0),
        ("try: f()\nexcept BaseException:\n  with suppress(OSError): f()\n  raise", 0),
        ("with suppress(FileNotFoundError): f()", 0),
    ],
)
def test_what_passing_over_is(text: str, expected: int) -> None:
    """The test above finds each bad form, and accepts each good one."""
    assert len(list(passed_over(ast.parse(text)))) == expected
