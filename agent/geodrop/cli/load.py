# SPDX-License-Identifier: Apache-2.0
"""`geodrop load`: make the kernel match a ruleset file."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.cli.numbers import add_confirmation
from geodrop.cli.unconfirmed import lines
from geodrop.config import load_config, load_config_or_assume
from geodrop.errors import ConfigError, UsageError
from geodrop.operations.change import by_me
from geodrop.operations.load import load
from geodrop.report.confirm import waiting
from geodrop.state.lock import exclusive
from geodrop.state.names import ENGINES
from geodrop.text import harmless, shown

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `load`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("ruleset", metavar="FILE", nargs="?", help="a ruleset made by `geodrop compile`")
    what.add_argument(
        "--boot", action="store_true", help="the last good ruleset, on nftables, before there are interfaces"
    )
    parser.add_argument("--engine", choices=ENGINES, help="the engine (default: that of agent.yaml, else auto)")
    parser.add_argument(
        "--interface",
        action="append",
        default=[],
        metavar="NAME",
        help="judge packets that arrive here; may be repeated, may end in * (default: that of agent.yaml, else "
        "those with a default route)",
    )
    add_confirmation(parser)


def run(args: argparse.Namespace) -> int:
    """Load and print what happened."""
    if args.boot:
        if args.confirm_within or args.why:
            raise UsageError("a boot needs neither a confirmation nor a reason", "leave out --confirm-within and --why")
        return _boot(args.config)
    config = load_config(args.config)
    engine = args.engine or config.engine
    asked = by_me("load", args.why, args.confirm_within or 0)
    loaded = load(args.ruleset, config, engine, args.interface, asked)
    if loaded.report and loaded.report.note:
        messages.warning(loaded.report.note)
    for warning in loaded.warnings:
        messages.warning(warning)
    # xdp comes first. Where xdp judges, the nftables rule only waits for another interface of that name.
    engines = {one.name: one.engine for one in reversed(loaded.after.interfaces)}
    mixed = len(set(engines.values())) > 1
    names = ", ".join(harmless(name) + (f" ({engines[name]})" if mixed else "") for name in loaded.after.names)
    digest = loaded.after.digest[:12]
    if loaded.report is None:
        same = f"generation {loaded.after.generation} is in force already"
        messages.say(f"{same} (ruleset {digest}) on {names}; nothing to do")
        return 0
    phases = ", ".join(f"{phase} {seconds * 1e3:.0f} ms" for phase, seconds in loaded.report.seconds.items())
    known = loaded.before.generation == loaded.after.generation
    change = "" if known else f"{loaded.before.generation} -> "
    messages.say(f"generation {change}{loaded.after.generation}: ruleset {digest} in force on {names} ({phases})")
    for line in lines(waits) if (waits := waiting(loaded.confirm, loaded.after.digest)) else ():
        messages.say(line)
    return 0


def _boot(config_path: str | None) -> int:
    """Return 0 even if `first_boot: open` leaves nothing in force, so that the boot goes on.

    Return 78 if agent.yaml cannot be used: what was in force is in force again, and an operator has to correct the
    file.
    """
    # Imported here because only a boot needs it, and a boot should import nothing else.
    from geodrop.operations.boot import boot  # noqa: PLC0415
    from geodrop.state.leftovers import remove_leftovers  # noqa: PLC0415

    config, doubt = load_config_or_assume(config_path, slips=False)
    if doubt:
        messages.warning(doubt)
    with exclusive():
        booted = boot(config, replace(by_me("boot"), change=doubt), time.time())
        remove_leftovers()
    for warning in booted.warnings:
        messages.warning(warning)
    if booted.alarm:
        messages.warning(booted.text, messages.RED)
    else:
        messages.say(shown(booted.text))
    return ConfigError.exit_code if doubt else 0
