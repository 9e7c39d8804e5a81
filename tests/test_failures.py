# SPDX-License-Identifier: Apache-2.0
"""A failure that is passed over is named: any other is raised, logged or told of."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.test_architecture import PACKAGE, sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    "state/this_boot.py: note": "nothing is noted, and each process goes by the ID that it sees",
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
