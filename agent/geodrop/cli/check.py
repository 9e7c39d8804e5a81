"""`geodrop check`: is this policy good?"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from geodrop.compile import sandbox
from geodrop.config import load_config
from geodrop.errors import GeodropError
from geodrop.state.store import Store

if TYPE_CHECKING:
    import argparse

    from geodrop.ruleset.container import Container

DEFAULT_POLICY = "/etc/geodrop/policy.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `check`."""
    parser.add_argument(
        "policy", nargs="?", metavar="POLICY", help="the policy (default: that of agent.yaml, else /etc/geodrop)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print a line that says the policy is good, or every problem with its place."""
    policy = args.policy
    if policy is None:
        source = load_config(args.config).source
        policy = source.policy if source and source.policy else DEFAULT_POLICY
    before = _asked_for(args.config)
    previous = [memory.descriptor for memory in before.memories()] if before else []
    return sandbox.run(sandbox.Job("check", policy, previous=previous, options={"json": args.json}))


def _asked_for(config: str | None) -> Container | None:
    """The ruleset asked for last, to compare lists with; None where there is none that this user may read."""
    with suppress(GeodropError, FileNotFoundError, PermissionError):
        return Store(load_config(config).state).asked_for()
    return None
