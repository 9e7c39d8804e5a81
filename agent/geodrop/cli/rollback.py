"""`geodrop rollback`: go back to a policy that was in force before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.cli.numbers import positive
from geodrop.config import load_config
from geodrop.dataplane.change import by_me
from geodrop.dataplane.rollback import roll_back
from geodrop.state.lock import exclusive

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rollback`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("count", nargs="?", type=positive, metavar="N", help="how many policies back (default: 1)")
    which.add_argument(
        "--generation", type=positive, metavar="G", help="to the policy that was generation G, see `geodrop history`"
    )
    parser.add_argument("--why", default="", metavar="TEXT", help="the reason, for the history")


def run(args: argparse.Namespace) -> int:
    """Roll back and say to what."""
    with exclusive():
        done = roll_back(load_config(args.config), by_me("rollback", args.why), args.count or 1, args.generation)
    print(done.text)
    return 0
