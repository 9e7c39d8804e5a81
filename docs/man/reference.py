"""The parts of the documentation that the code knows: commands and their arguments, exit codes, keys of both files.

Each is Markdown, made from what the program itself uses: the parsers behind `--help`, the tables that say which keys
may be written, and the classes of errors. A page holds each between two comments, and what is between is replaced.
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
    """A page with its blocks as the code has them now; raises KeyError for a block that is not known."""
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", page)


def commands() -> str:
    """Every command in a line."""
    return _table("command", "does", ((code(usage(_parser(name))), summary) for name, summary in VERBS.items()))


def arguments() -> str:
    """A section for each command: how it is called, what it does, what each argument means."""
    every = _table("every command", "", _explained(_actions(build_parser())))
    sections = [every]
    for name in VERBS:
        parser = _parser(name)
        sections += [f"### geodrop {name}", code(usage(parser)), str(parser.description)]
        own = _explained(_own_actions(parser))
        if own:
            sections.append(_table("argument", "meaning", own))
    return "\n\n".join(sections)


def exit_codes() -> str:
    """Every exit code with what the classes that have it say of themselves."""
    meanings = {0: [EXIT_DONE], errors.EXIT_BUG: [EXIT_BUG]}
    for kind in vars(errors).values():
        # A class that takes its code over from another one is a special case of that.
        own = isinstance(kind, type) and issubclass(kind, errors.GeodropError) and "exit_code" in vars(kind)
        if own and kind is not errors.GeodropError:
            meanings.setdefault(kind.exit_code, []).append(" ".join((kind.__doc__ or "").split()))
    return _table("code", "meaning", ((str(number), " ".join(said)) for number, said in sorted(meanings.items())))


def policy_keys() -> str:
    """The keys of a policy."""
    return _keys(parse.KEYS)


def agent_keys() -> str:
    """The keys of agent.yaml."""
    return _keys(config.KEYS)


BLOCKS = {
    "commands": commands,
    "arguments": arguments,
    "exit-codes": exit_codes,
    "policy-keys": policy_keys,
    "agent-keys": agent_keys,
}


def usage(parser: argparse.ArgumentParser) -> str:
    """How a command is called: options first, in brackets what may be left out, `...` what may be repeated."""
    words = [parser.prog]
    for action in sorted(_own_actions(parser), key=lambda action: not action.option_strings):
        word = f"{action.option_strings[0]} {_value(action)}".strip() if action.option_strings else _value(action)
        word = word if action.required or not action.option_strings else f"[{word}]"
        words.append(f"{word}..." if isinstance(action, argparse._AppendAction) else word)  # noqa: SLF001 - as above
    return " ".join(words)


def code(text: str) -> str:
    """Text to be typed as it stands."""
    return f"`{text}`"


def _keys(keys: Keys) -> str:
    return _table("key", "meaning", ((code(path), meaning) for path, meaning in paths(keys)))


def _table(first: str, second: str, rows: Iterable[tuple[str, str]]) -> str:
    cells = [(first, second), ("---", "---"), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    return "\n".join(" ".join(["|", *(f"{cell} |".strip() for cell in row)]) for row in cells)


def _parser(verb: str) -> argparse.ArgumentParser:
    subparsers = next(one for one in _actions(build_parser([verb])) if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001 - argparse has no other way to ask
    parser: argparse.ArgumentParser = subparsers.choices[verb]
    return parser


def _actions(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    return parser._actions  # noqa: SLF001 - as above


def _own_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments that only this command has."""
    shared = {option for action in _actions(build_parser()) for option in action.option_strings}
    return [
        action
        for action in _actions(parser)
        if not shared & set(action.option_strings) and action.help != argparse.SUPPRESS
    ]


def _explained(actions: Iterable[argparse.Action]) -> list[tuple[str, str]]:
    return [
        (", ".join(map(code, _spellings(action))), (action.help or "") % vars(action))
        for action in actions
        if not isinstance(action, argparse._SubParsersAction)  # noqa: SLF001 - as above
    ]


def _spellings(action: argparse.Action) -> list[str]:
    """All names of an option, the last with its value; or that of a positional argument."""
    *others, last = action.option_strings or [""]
    return [*others, f"{last} {_value(action)}".strip()]


def _value(action: argparse.Action) -> str:
    """The value of an argument as it is written in a usage line."""
    if action.nargs == 0:
        return ""
    name = f"{{{','.join(map(str, action.choices))}}}" if action.choices else str(action.metavar or action.dest.upper())
    return {"?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}..."}.get(str(action.nargs), name)
