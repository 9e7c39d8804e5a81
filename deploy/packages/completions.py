# SPDX-License-Identifier: Apache-2.0
"""Completions for bash, zsh and fish, from the parsers behind `--help`."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from docs.man.reference import actions_of, parser_of
from geodrop.cli.main import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {"DIR", "FILE", "POLICY", "RULESET"}
"""Values that are paths; of others only the choices are known."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a command: its spellings (none for a positional one), and its value ("" for a flag)."""

    spellings: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    about: str
    repeated: bool

    @property
    def is_file(self) -> bool:
        """Whether the value is a path."""
        return self.value in FILES

    @property
    def is_interface(self) -> bool:
        """Whether the value is a network interface."""
        return "--interface" in self.spellings


def arguments(verb: str) -> list[Argument]:
    """Return the arguments of a command, hidden ones left out."""
    return [
        Argument(
            tuple(action.option_strings),
            "" if action.nargs == 0 else str(action.metavar or action.dest),
            tuple(map(str, action.choices or ())),
            ((action.help or "") % vars(action)).split(" (default")[0].split("; ")[0],
            isinstance(action, argparse._AppendAction) or action.nargs in ("+", "*"),  # noqa: SLF001 - argparse has no other way to ask
        )
        for action in actions_of(parser_of(verb))
        if action.help != argparse.SUPPRESS
    ]


BASH_FILES = '{ compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current"); }'


def bash() -> str:
    """Return the completion for bash, to be read by bash-completion or by `source`."""
    return "\n".join((*_bash(), ""))


def _bash() -> Iterator[str]:
    yield "# bash completion for geodrop(8)"
    yield "_geodrop() {"
    yield '\tlocal current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}" verb= word'
    yield '\tfor word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield f'\t\tcase "$word" in {"|".join(VERBS)}) verb="$word"; break ;; esac'
    yield "\tdone"
    yield "\tCOMPREPLY=()"
    yield '\tcase "$verb $before" in'
    yield f'\t" --config") {BASH_FILES}; return ;;'
    for verb in VERBS:
        for argument in arguments(verb):
            if argument.value and argument.spellings:
                words = "|".join(f'"{verb} {spelling}"' for spelling in argument.spellings)
                yield f"\t{words}) {_bash_values(argument)}; return ;;"
    yield "\tesac"
    yield '\tcase "$verb" in'
    yield f'\t"") COMPREPLY=($(compgen -W "{" ".join((*VERBS, "--config", "--help", "--version"))}" -- "$current")) ;;'
    for verb in VERBS:
        known = arguments(verb)
        options = " ".join(spelling for argument in known for spelling in argument.spellings)
        positional = next((one for one in known if not one.spellings), None)
        rest = f"; [[ $current == -* ]] || {BASH_FILES}" if positional and positional.is_file else ""
        yield f'\t{verb}) COMPREPLY=($(compgen -W "{options}" -- "$current")){rest} ;;'
    yield "\tesac"
    yield "}"
    yield "complete -F _geodrop geodrop"


def _bash_values(argument: Argument) -> str:
    if argument.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(argument.choices)}" -- "$current"))'
    if argument.is_interface:
        return 'COMPREPLY=($(compgen -W "$(ls /sys/class/net)" -- "$current"))'
    if argument.is_file:
        return BASH_FILES
    return ":"


def zsh() -> str:
    """Return the completion for zsh, to be put into a folder of its `fpath` as _geodrop."""
    return "\n".join((*_zsh(), ""))


def _zsh() -> Iterator[str]:
    yield "#compdef geodrop"
    yield 'local curcontext="$curcontext" state line'
    yield "local -a verbs=("
    yield from (f"\t{shlex.quote(f'{verb}:{about}')}" for verb, about in VERBS.items())
    yield ")"
    yield "_arguments -C '--config[another agent.yaml]:FILE:_files' '(- *)--version[the version]' \\"
    yield "\t'(- *)'{-h,--help}'[what there is]' '1:command:->verb' '*::argument:->rest'"
    yield 'case "$state" in'
    yield "verb) _describe command verbs ;;"
    yield "rest)"
    yield '\tcase "$words[1]" in'
    for verb in VERBS:
        specs = " ".join(shlex.quote(spec) for argument in arguments(verb) for spec in _zsh_specs(argument))
        yield f"\t{verb}) _arguments {specs} ;;"
    yield "\tesac ;;"
    yield "esac"


def _zsh_specs(argument: Argument) -> Iterator[str]:
    if argument.choices:
        action = f"({' '.join(argument.choices)})"
    elif argument.is_interface:
        action = "_net_interfaces"
    else:
        action = "_files" if argument.is_file else " "
    value = f":{argument.value}:{action}" if argument.value else ""
    if not argument.spellings:
        yield f"{'*' if argument.repeated else '1'}{value}"
    for spelling in argument.spellings:
        about = argument.about.replace("[", r"\[").replace("]", r"\]").replace(":", r"\:")
        yield f"{'*' if argument.repeated else ''}{spelling}[{about}]{value}"


def fish() -> str:
    """Return the completion for fish, to be put into a folder of its completions as geodrop.fish."""
    return "\n".join((*_fish(), ""))


def _fish() -> Iterator[str]:
    yield "# fish completion for geodrop(8)"
    yield "complete -c geodrop -f"
    none = "not __fish_seen_subcommand_from " + " ".join(VERBS)
    yield f"complete -c geodrop -n {shlex.quote(none)} -l config -r -F -d 'another agent.yaml'"
    yield f"complete -c geodrop -n {shlex.quote(none)} -l version -d 'the version'"
    yield f"complete -c geodrop -n {shlex.quote(none)} -s h -l help -d 'what there is'"
    for verb, about in VERBS.items():
        yield f"complete -c geodrop -n {shlex.quote(none)} -a {verb} -d {shlex.quote(about)}"
        for argument in arguments(verb):
            seen = f"complete -c geodrop -n {shlex.quote(f'__fish_seen_subcommand_from {verb}')}"
            if argument.spellings:
                yield f"{seen} {_fish_option(argument)}"
            elif argument.is_file:
                yield f"{seen} -F"


def _fish_option(argument: Argument) -> str:
    names = " ".join(f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}" for one in argument.spellings)
    if argument.choices:
        value = f" -x -a {shlex.quote(' '.join(argument.choices))}"
    elif argument.is_interface:
        value = " -x -a '(ls /sys/class/net)'"
    else:
        value = "" if not argument.value else " -r -F" if argument.is_file else " -x"
    return f"{names}{value} -d {shlex.quote(argument.about)}"
