# SPDX-License-Identifier: Apache-2.0
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import geodrop.daemon
from geodrop.daemon.event import Event

LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
SOURCES = Path(geodrop.daemon.__path__[0])
PAGE = Path(__file__).parents[3] / "docs" / "commands.md"


def entries() -> Iterator[tuple[str, str]]:
    """Yield every place in the source that writes to the log, and its kind."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in LEVELS and ast.unparse(node.func.value).endswith("log"):
                kinds = [ast.unparse(given.value) for given in node.keywords if given.arg == "kind"]
                yield f"{path.name}:{node.lineno}", "".join(kinds)


def test_each_entry_has_one_and_each_is_given() -> None:
    """Each entry has a kind, each kind is used, and no two kinds have the same value."""
    found = dict(entries())
    assert len(found) > len(Event)
    assert [place for place, kind in found.items() if not kind] == []
    assert set(found.values()) == {f"Event.{event.name}" for event in Event}
    assert len({event.value for event in Event.__members__.values()}) == len(Event.__members__)


def test_each_is_documented() -> None:
    """The reference table lists each kind once, in order, so a change here needs a change there."""
    table = PAGE.read_text(encoding="utf-8").partition("| `GEODROP_EVENT` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == sorted(event.value for event in Event)
