# SPDX-License-Identifier: Apache-2.0
"""A small world and two policies on it, compiled in memory with the tables of both engines.

Both policies drop CN and accept US; they differ about RU, so that a test can tell which one was in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geodrop.compile.build import build, identity
from geodrop.geo.database import Database
from geodrop.geo.world import correct, uncorrected
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from geodrop.geo.world import RegionMap
    from geodrop.policy.model import Network, Policy

WORLD = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/8": country("US"),
    "5.0.0.0/8": country("RU"),
    "2400::/16": country("CN"),
    "2600::/16": country("US"),
    "2a02::/16": country("RU"),
}
HEAD = "version: 1\nservices:\n  api:\n    match: {ports: {tcp: [443]}}\n"
POLICY_CN = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
POLICY_US = HEAD + "    default: deny\n    unknown: deny\n    allow: [US]\n"


def compiled(policy: str, folder: Path, world: Mapping[str, Any] = WORLD) -> Ruleset:
    """Compile a policy to a ruleset."""
    return Ruleset.unpack(packed(policy, folder, world), "test")


def packed(policy: str, folder: Path, world: Mapping[str, Any] = WORLD) -> bytes:
    """Compile a policy to the bytes of a ruleset file; the database is written to a folder."""
    database = write_database(folder / "world.mmdb", world)
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    opened = Database.open(database.read_bytes(), database.name)
    return compile_ruleset(parsed, [opened])


def regions(databases: Sequence[Database], corrections: Mapping[Network, str]) -> RegionMap:
    """Return the map that a policy is compiled against; raises DataError if the databases are not enough."""
    return correct(uncorrected(databases), corrections)


def compile_ruleset(policy: Policy, databases: Sequence[Database]) -> bytes:
    """Compile as the compile child does, without the child."""
    return build(policy, regions(databases, policy.corrections), map(identity, databases))


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)
