# SPDX-License-Identifier: Apache-2.0
"""Generate the parts of the documentation that the code defines: commands, arguments, exit codes, keys of both files.

Each part is Markdown, made from the parsers behind `--help`, the tables of allowed keys, or the error classes. A page
marks the place of a part with two comments; the text between them is replaced.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from geodrop import config, errors
from geodrop.cli.main import VERBS, build_parser
from geodrop.document.keys import Keys, paths
from geodrop.policy import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BLOCK = re.compile(r"(<!-- make man: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

EXIT_DONE = "Done, or nothing to do."
EXIT_BUG = "A bug, the only one with a traceback."


def refreshed(page: str) -> str:
    """Return a page with its blocks made from the present code; raises KeyError for an unknown block."""
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", page)


def commands() -> str:
    """Return a table with one line per command."""
    return _table("command", "does", ((code(usage(parser_of(name))), summary) for name, summary in VERBS.items()))


def arguments() -> str:
    """Return a section for each command: its usage, what it does, and what each argument means."""
    every = _table("every command", "", _explained(actions_of(build_parser())))
    sections = [every]
    for name in VERBS:
        parser = parser_of(name)
        sections += [f"### geodrop {name}", code(usage(parser)), str(parser.description)]
        own = _explained(own_actions(parser))
        if own:
            sections.append(_table("argument", "meaning", own))
    return "\n\n".join(sections)


def exit_codes() -> str:
    """Return a table of the exit codes with the docstrings of the error classes that have them."""
    meanings = {0: [EXIT_DONE], errors.EXIT_BUG: [EXIT_BUG]}
    for kind in vars(errors).values():
        # A class that inherits its exit code is a special case of its parent, and is left out.
        own = isinstance(kind, type) and issubclass(kind, errors.GeodropError) and "exit_code" in vars(kind)
        if own and kind is not errors.GeodropError:
            meanings.setdefault(kind.exit_code, []).append(" ".join((kind.__doc__ or "").split()))
    return _table("code", "meaning", ((str(number), " ".join(said)) for number, said in sorted(meanings.items())))


def policy_keys() -> str:
    """Return a table of the keys of a policy."""
    return _keys(parse.KEYS)


def agent_keys() -> str:
    """Return a table of the keys of agent.yaml."""
    return _keys(config.KEYS)


BLOCKS = {
    "commands": commands,
    "arguments": arguments,
    "exit-codes": exit_codes,
    "policy-keys": policy_keys,
    "agent-keys": agent_keys,
}


def usage(parser: argparse.ArgumentParser) -> str:
    """Return a usage line: options first, optional ones in brackets, `...` after arguments that may be repeated."""
    words = [parser.prog]
    for action in sorted(own_actions(parser), key=lambda action: not action.option_strings):
        word = f"{action.option_strings[0]} {_value(action)}".strip() if action.option_strings else _value(action)
        word = word if action.required or not action.option_strings else f"[{word}]"
        words.append(f"{word}..." if isinstance(action, argparse._AppendAction) else word)  # noqa: SLF001 - as above
    return " ".join(words)


def code(text: str) -> str:
    """Return text marked up as code."""
    return f"`{text}`"


def _keys(keys: Keys) -> str:
    return _table("key", "meaning", ((code(path), meaning) for path, meaning in paths(keys)))


def _table(first: str, second: str, rows: Iterable[tuple[str, str]]) -> str:
    cells = [(first, second), ("---", "---"), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    return "\n".join(" ".join(["|", *(f"{cell} |".strip() for cell in row)]) for row in cells)


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the parser of a command; raises KeyError if there is no such command."""
    subparsers = next(one for one in actions_of(build_parser([verb])) if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001 - argparse has no other way to ask
    parser: argparse.ArgumentParser = subparsers.choices[verb]
    return parser


def actions_of(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    """Return all arguments of a parser."""
    return parser._actions  # noqa: SLF001 - as above


def own_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments that only this command has, without hidden ones."""
    shared = {option for action in actions_of(build_parser()) for option in action.option_strings}
    return [
        action
        for action in actions_of(parser)
        if not shared & set(action.option_strings) and action.help != argparse.SUPPRESS
    ]


def _explained(actions: Iterable[argparse.Action]) -> list[tuple[str, str]]:
    return [
        (", ".join(map(code, _spellings(action))), (action.help or "") % vars(action))
        for action in actions
        if not isinstance(action, argparse._SubParsersAction)  # noqa: SLF001 - as above
    ]


def _spellings(action: argparse.Action) -> list[str]:
    """Return all names of an option, the last with its value; for a positional argument, its value."""
    *others, last = action.option_strings or [""]
    return [*others, f"{last} {_value(action)}".strip()]


def _value(action: argparse.Action) -> str:
    """Return the value of an argument as a usage line shows it."""
    if action.nargs == 0:
        return ""
    name = f"{{{','.join(map(str, action.choices))}}}" if action.choices else str(action.metavar or action.dest.upper())
    return {"?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}..."}.get(str(action.nargs), name)
