"""`geodrop load`: make the kernel match a ruleset file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.config import ENGINES, load_config
from geodrop.dataplane.load import load

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `load`."""
    parser.add_argument("ruleset", metavar="FILE", help="a ruleset made by `geodrop compile`")
    parser.add_argument("--engine", choices=ENGINES, help="the engine (default: that of agent.yaml, else auto)")
    parser.add_argument(
        "--interface",
        action="append",
        default=[],
        metavar="NAME",
        help="judge packets that arrive here; may be repeated, may end in * (default: that of agent.yaml, else "
        "those with a default route)",
    )


def run(args: argparse.Namespace) -> int:
    """Load and say what happened."""
    config = load_config(args.config)
    engine = args.engine or config.engine
    loaded = load(args.ruleset, config, engine, args.interface)
    then = "load again once it is" if engine == "xdp" else "its packets are judged once it is"
    for name in loaded.absent:
        messages.warning(f"no interface {name} is there now; {then}")
    if loaded.report and loaded.report.note:
        messages.warning(loaded.report.note)
    mixed = len({interface.engine for interface in loaded.after.interfaces}) > 1
    names = ", ".join(one.name + (f" ({one.engine})" if mixed else "") for one in loaded.after.interfaces)
    digest = loaded.after.digest[:12]
    if loaded.report is None:
        print(f"generation {loaded.after.generation} is in force already (ruleset {digest}) on {names}; nothing to do")
        return 0
    if loaded.report.note:
        messages.warning(loaded.report.note)
    phases = ", ".join(f"{phase} {seconds * 1e3:.0f} ms" for phase, seconds in loaded.report.seconds.items())
    known = loaded.before.generation == loaded.after.generation
    change = "" if known else f"{loaded.before.generation} -> "
    print(f"generation {change}{loaded.after.generation}: ruleset {digest} in force on {names} ({phases})")
    return 0
