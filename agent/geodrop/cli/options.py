# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_databases(parser: argparse.ArgumentParser, what: str = "a GeoIP database") -> None:
    """Add --database for verbs whose default are the databases of agent.yaml."""
    text = f"{what}; may be repeated (default: those of agent.yaml)"
    parser.add_argument("--database", action="append", default=[], metavar="FILE", help=text)
