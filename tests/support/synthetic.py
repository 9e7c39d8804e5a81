# SPDX-License-Identifier: Apache-2.0
"""Worlds larger than the real one, made by cutting its intervals into several times as many, or compiled as if so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from geodrop.compile import nftables
from geodrop.compile.build import build
from geodrop.geo.database import Database
from geodrop.geo.partition import Partition, changes, distinct
from geodrop.policy.parse import load_policy
from tests.support.worlds import compile_ruleset, regions

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Keys = npt.NDArray[np.uint64]

UNKNOWN = 0  # in a geo.world.RegionMap; what is special or embeds IPv4 is below


def synthetic_ruleset(policy: str, database: Path, times: int) -> bytes:
    """Compile a policy without lists for `times` as many intervals as the database has."""
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    world = regions([Database.open(database.read_bytes(), database.name)], parsed.corrections)
    return build(parsed, replace(world, ipv4=grown(world.ipv4, times), ipv6=grown(world.ipv6, times)), [])


def joined_ruleset(policy: str, database: Path) -> bytes:
    """Compile a policy without lists, with nftables maps that join dropped intervals as those of a large world do."""
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    with mock.patch.object(nftables, "is_joined", return_value=True):
        return compile_ruleset(parsed, [Database.open(database.read_bytes(), database.name)])


def grown(partition: Partition, times: int) -> Partition:
    """Return `times` as many intervals: random ones are cut after a half, a quarter or an eighth of their length.

    Each interval is equally likely to be cut, so the world gets a few bits finer everywhere, and stays crowded in the
    same places. The part cut off takes the value of another interval. Intervals without a region stay as they are.
    There are no boundaries below a /64. The same arguments give the same world.
    """
    chosen = np.random.default_rng(times)
    keys, values = _keys(partition)
    wanted = times * len(keys)
    while len(keys) < wanted:
        usable = values > UNKNOWN
        size = np.append(np.diff(keys), np.uint64(1))
        picked = chosen.choice(np.flatnonzero(usable), wanted - len(keys))
        bits = np.log2(size[picked].astype(np.float64)).astype(np.int64) - chosen.integers(1, 4, len(picked))
        added = distinct((keys[picked] + (np.uint64(1) << np.maximum(bits, 0).astype(np.uint64)))[bits >= 0])
        given = chosen.choice(values[usable], len(added))
        keys, values = np.concatenate([keys, added]), np.concatenate([values, given])
        order = np.argsort(keys)
        keys, values = keys[order], values[order]
        different = changes(values)
        keys, values = keys[different], values[different]
    return Partition(partition.family, _addresses(partition.family, keys), values)


def _keys(partition: Partition) -> tuple[Keys, npt.NDArray[np.int32]]:
    """Return interval starts as numbers (upper halves for IPv6), and the value from each start on."""
    if partition.family == 4:
        return partition.starts.astype(np.uint64), partition.values
    halves = np.frombuffer(np.ascontiguousarray(partition.starts).tobytes(), dtype=">u8").astype(np.uint64)
    first = changes(halves[0::2])
    return halves[0::2][first], partition.values[first]


def _addresses(family: int, keys: Keys) -> npt.NDArray[Any]:
    if family == 4:
        return keys.astype(np.uint32)
    halves = np.zeros((len(keys), 2), dtype=">u8")
    halves[:, 0] = keys
    return halves.view("S16").ravel()


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)
