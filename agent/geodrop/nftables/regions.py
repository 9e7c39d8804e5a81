# SPDX-License-Identifier: Apache-2.0
"""Count by region what maps first count as `other`. Pure counting: these maps change no verdict and are added later.

The maps of a service join all dropped regions into large intervals, since the packets dropped are the same. So a load
does not wait for the regions. A second map is filled and read back afterwards; then one transaction replaces the rules
of the chain that drops, which gain a lookup. A packet that arrives meanwhile is dropped by the old rules or by the new
ones. What the second map lacks, or fails to hold, is counted as `other`.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from geodrop.engine import underway
from geodrop.errors import ApplyError
from geodrop.nftables import diff, names, readback, render
from geodrop.nftables.model import Surplus
from geodrop.nftables.netlink import messages
from geodrop.nftables.netlink.monitor import muted
from geodrop.nftables.netlink.wire import portions
from geodrop.nftables.transactions import TRANSACTION, added, no_table, raise_any, take_away

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.nftables.model import Chain, Snapshot
    from geodrop.nftables.netlink.connection import Connection
    from geodrop.nftables.netlink.wire import NetlinkRequest
    from geodrop.ruleset.model import Ruleset


def tell_apart(connection: Connection, ruleset: Ruleset) -> bool:
    """Make the generation in force count by region. Return False if there is nothing to do.

    Works only on a whole generation (no overlay) of this ruleset. Raises ApplyError; everything is then counted as
    `other`, as before.
    """
    before = readback.read(connection)
    found = readback.in_force(before)
    if before is None or found is None or found.stamp is None or found.digest != ruleset.digest:
        return False
    if found.regions or found.base is not None or not any(one.counted for one in ruleset.meta.services):
        return False
    known, wanted = (
        render.build(ruleset, found.generation, (), found.stamp.loaded, regions=regions) for regions in (False, True)
    )
    there = {chain.name: chain for chain in known.chains}
    asking = [chain for chain in wanted.chains if there.get(chain.name, chain) != chain]
    new = [chain for chain in wanted.chains if chain.name not in there]
    maps = [map_ for map_ in wanted.maps if names.is_region_map(map_.header.name)]
    own = Surplus(tuple(chain.name for chain in new), tuple(map_.header.name for map_ in maps))
    take_away(connection, _present(own, before), before)  # left by a process that was killed
    with contextlib.ExitStack() as undo, muted(connection):
        undo.callback(_undo, connection, [there[chain.name] for chain in asking], own)
        counters = {name: (0, 0) for name in wanted.counters if name not in before.counters}
        for requests in portions(added(counters, new, maps), min(TRANSACTION, connection.capacity // 2)):
            underway.go_on()
            connection.transaction(requests)
        for map_ in maps:
            raise_any(diff.content(map_, readback.dump_elements(connection, map_.header.name)))
        connection.transaction(_replaced(asking))
        after = readback.read(connection)
        raise_any(diff.generation(wanted, after) if after else [no_table()])
        undo.pop_all()
    return True


def _replaced(chains: Iterable[Chain]) -> Iterator[NetlinkRequest]:
    numbers = itertools.count(1)
    for chain in chains:
        yield messages.delete_rules(chain.name)
        yield from messages.new_rules(chain.name, chain.rules, numbers)


def _undo(connection: Connection, chains: Sequence[Chain], own: Surplus) -> None:
    """Restore the previous counting. What cannot be deleted decides nothing, and the next change deletes it."""
    with contextlib.suppress(ApplyError):
        if (now := readback.read(connection)) is None:
            return
        connection.transaction(_replaced(chain for chain in chains if now.chains.get(chain.name, chain) != chain))
        take_away(connection, _present(own, now), now)


def _present(own: Surplus, snapshot: Snapshot) -> Surplus:
    return Surplus(
        tuple(name for name in own.chains if name in snapshot.chains),
        tuple(name for name in own.sets if name in snapshot.maps or name in snapshot.sets),
    )
