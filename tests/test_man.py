# SPDX-License-Identifier: Apache-2.0
"""The reference and the man pages match the program: they are generated from its own tables."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from docs.man import pages, reference
from docs.man.pages import DOCS, PAGES
from docs.man.roff import to_roff
from geodrop import config, errors
from geodrop.cli.main import VERBS
from geodrop.document import shape
from geodrop.document.keys import paths
from geodrop.policy import parse
from geodrop.policy.model import Action, Established, Mode
from geodrop.state import names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from docs.man.pages import Page
    from geodrop.document.keys import Keys
    from geodrop.document.problems import ProblemReport
    from geodrop.document.tree import Node

EVERY_KEY = {
    "policy": b"""
version: 1
groups: {g: [US]}
lists: {l: {prefixes: [5.9.0.0/16], guard: {shortest: {ipv4: 16}}}}
corrections: {81.2.69.0/24: GB}
services:
  api: {match: {ports: {tcp: [443]}}, default: deny, unknown: allow, expect: {drop: [5.9.0.0/16]}}
never_drop: {ports: {tcp: [22]}}
limits: {blast_radius: 5%}
""",
    "agent": b"{source: {ruleset: r}, metrics: {listen: '127.0.0.1:1'}, keep: {count: 1}}",
}
"""A file of each kind that has every possible table."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.file)
def test_the_reference_is_current(page: Page) -> None:
    """The tree holds what the code generates now; if not, run `make man`."""
    assert (DOCS / page.source).read_text(encoding="utf-8") == page.markdown()


def test_make_man_brings_it_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outdated block is replaced, the text around it stays, and every page is written."""
    for page in PAGES:
        shutil.copy(DOCS / page.source, tmp_path)
    (tmp_path / "agent.md").write_text(
        "# Title\n\nBefore.\n\n<!-- make man: agent-keys -->\nout of date\n<!-- end -->\n\nAfter.\n"
    )
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    written = list(pages.write(tmp_path / "man"))
    assert [path.name for path in written] == ["geodrop.8", "geodrop-policy.5", "geodrop-agent.5"]
    text = (tmp_path / "agent.md").read_text()
    assert re.fullmatch(r"# Title\n\nBefore\.\n\n<!-- .*\n\| key \|(.*\n)+<!-- end -->\n\nAfter\.\n", text)
    assert "out of date" not in text


def test_a_block_that_nobody_makes_is_found() -> None:
    """A misspelt block name in a page is an error, not an empty table."""
    with pytest.raises(KeyError, match="exit-kodes"):
        reference.refreshed("<!-- make man: exit-kodes -->\n<!-- end -->\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.file)
@pytest.mark.parametrize(
    "lint",
    [("groff", "-man", "-Tutf8", "-ww", "-z"), ("mandoc", "-T", "lint", "-W", "warning")],
    ids=lambda command: command[0],
)
def test_the_formatters_have_no_complaint(page: Page, lint: tuple[str, ...], tmp_path: Path) -> None:
    """Neither man nor mandoc warns about a page."""
    if shutil.which(lint[0]) is None:
        assert os.environ.get("CI") != "true", f"CI must have {lint[0]}"
        pytest.skip(f"{lint[0]} is not installed")
    (tmp_path / page.file).write_text(page.roff())
    done = subprocess.run([*lint, tmp_path / page.file], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    # mandoc wants a date; a page without one has the same bytes whenever it is made.
    assert [line for line in said if "missing date" not in line] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_is_explained(verb: str) -> None:
    """Each command has a section, and each of its arguments has a meaning there: none lacks `help`."""
    section = reference.arguments().split(f"### geodrop {verb}\n")[1].split("### ")[0]
    assert section.strip().startswith(f"`geodrop {verb}")
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert all(re.fullmatch(r"\| `.*` \| \S.* \|", row) for row in rows), rows
    assert f"\n.SS geodrop {verb}\n" in PAGES[0].roff()


def test_usage_lines_say_what_may_be_left_out_and_repeated() -> None:
    """Required options without brackets, repeated ones with dots, positional arguments last, hidden ones nowhere."""
    parser = argparse.ArgumentParser(prog="geodrop try")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("rest", nargs="*", metavar="MORE")
    parser.add_argument("-o", "--output", required=True, metavar="OUT")
    parser.add_argument("--interface", action="append", metavar="NAME")
    parser.add_argument("--engine", choices=("a", "b"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--secret", help=argparse.SUPPRESS)
    assert reference.usage(parser) == (
        "geodrop try -o OUT [--interface NAME]... [--engine {a,b}] [--json] FILE [MORE...]"
    )


def test_every_exit_code_is_documented() -> None:
    """The table has the codes of the exception classes, 0 and the code of a bug, each with its meaning."""
    documented = dict(re.findall(r"^\| (\d+) \| (\S.*) \|$", reference.exit_codes(), re.MULTILINE))
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {value.exit_code for value in classes if issubclass(value, errors.GeodropError)}
    assert {int(code) for code in documented} == codes | {0, errors.EXIT_BUG}


@pytest.mark.parametrize(("kind", "keys"), [("policy", parse.KEYS), ("agent", config.KEYS)])
def test_no_key_can_be_read_that_is_not_documented(
    kind: str, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table of keys that the parser reads is part of the one that the reference is made from."""
    asked: list[Keys] = []
    fields = shape.fields

    def recording(report: ProblemReport, node: Node, what: str, known: Keys) -> shape.Fields:
        asked.append(known)
        return fields(report, node, what, known)

    monkeypatch.setattr(shape, "fields", recording)
    if kind == "policy":
        parse.load_policy(EVERY_KEY[kind], "policy.yaml", lambda _: b"")
    else:
        (tmp_path / "agent.yaml").write_bytes(EVERY_KEY[kind])
        config.load_config(str(tmp_path / "agent.yaml"))
    documented = list(tables(keys))
    assert all(any(one is known for one in documented) for known in asked)
    # The other way round: every documented key is read.
    assert all(any(one is known for known in asked) for one in documented)
    assert all(meaning for _, meaning in paths(keys))


def tables(keys: Keys) -> list[Keys]:
    """Return a table and the tables inside it."""
    return [keys, *(inner for key in keys.values() if key.keys for inner in tables(key.keys))]


@pytest.mark.parametrize(
    ("keys", "key", "choices"),
    [
        (parse.KEYS, "services.NAME.mode", Mode),
        (parse.KEYS, "services.NAME.established", Established),
        (parse.KEYS, "services.NAME.action", Action),
        (config.KEYS, "engine", names.ENGINES),
        (config.KEYS, "first_boot", config.FIRST_BOOT),
    ],
)
def test_every_choice_is_named(keys: Keys, key: str, choices: Iterable[str]) -> None:
    """The description of a key with fixed values names each of them."""
    assert set(map(str, choices)) <= set(re.findall(r"`(\w+)", dict(paths(keys))[key]))


@pytest.mark.parametrize(
    ("markdown", "roff"),
    [
        ("# Title\n\nText.", ".PP\nText."),
        ("## Exit codes\n\n### One\n\nText.", ".SH EXIT CODES\n.SS One\nText."),
        ("Use `a-b` and **c**, [d](e.md).", ".PP\nUse \\fBa\\-b\\fR and \\fBc\\fR, d."),
        ("with --at, well-known", ".PP\nwith \\-\\-at, well-known"),
        ("- one\n  more\n- two", ".IP \\(bu 2\none\nmore\n.IP \\(bu 2\ntwo"),
        ("1. one\n2. two", ".IP 1. 4\none\n.IP 2. 4\ntwo"),
        ("```sh\nnft 'x'\n\n.y\n```", ".PP\n.RS 4\n.nf\nnft \\(aqx\\(aq\n\n\\&.y\n.fi\n.RE"),
        ("| a | b |\n|---|---|\n| `x\\|y` | z |", ".TP\n\\fBx|y\\fR\nz"),
        (".dot and \\", ".PP\n\\&.dot and \\e"),
        ("<!-- make man: x -->\n| a | b |\n|---|---|\n| x | z |\n<!-- end -->", ".TP\nx\nz"),
    ],
)
def test_markdown_becomes_roff(markdown: str, roff: str) -> None:
    """Each form that the pages use is converted, as is text that roff would take for a request or an escape."""
    assert to_roff(markdown) == roff + "\n"


def test_a_wide_table_is_refused() -> None:
    """An unsupported form is an error: the page would be unreadable."""
    with pytest.raises(ValueError, match="3 columns"):
        to_roff("| a | b | c |\n|---|---|---|\n| 1 | 2 | 3 |")
