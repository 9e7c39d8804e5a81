"""`geodrop check`: is this policy good?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.compile import sandbox
from geodrop.config import load_config

if TYPE_CHECKING:
    import argparse

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
    return sandbox.run(sandbox.Job("check", policy, options={"json": args.json}))
