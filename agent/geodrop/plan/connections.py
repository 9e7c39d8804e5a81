# SPDX-License-Identifier: Apache-2.0
"""Which open connections a change would cut: dropped by the new ruleset, and not by the one in force."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from geodrop.linux.connections import TcpConnection
    from geodrop.plan.judge import Address, Judge


@dataclass(frozen=True, slots=True)
class Cut:
    """Open connections: to which services, and how many would be cut, by service and region.

    `left_out` are those of `cut` that no line of the policy names: their region is in no allow list. `known` is False
    if the kernel's table could not be read.
    """

    open: Mapping[str, int] = field(default_factory=dict)
    cut: Mapping[tuple[str, str], int] = field(default_factory=dict)
    left_out: Mapping[tuple[str, str], int] = field(default_factory=dict)
    known: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the object `connections` of `plan --json`."""
        return {
            "open": sum(self.open.values()) if self.known else None,
            "cut": [
                {"service": service, "region": region, "count": count} for (service, region), count in self.cut.items()
            ],
        }


def connections_cut(
    old: Judge,
    new: Judge,
    found: Iterable[TcpConnection],
    own: Collection[Address],
    exempt: Sequence[IPv4Network | IPv6Network] = (),
) -> Cut:
    """Judge each connection by both rulesets.

    Those from the host's `own` addresses are left out: they arrive on the loopback interface, which is never judged.
    Those of `exempt` networks are not cut.
    """
    opened, cut, left_out = Counter[str](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    own = frozenset(own)
    for one in found:
        if one.peer in own or one.peer.is_loopback:
            continue
        takers = new.takers(one.local, one.port)
        if not takers:
            continue
        opened[takers[0].name] += 1
        said = new.packet(*one, established=True)
        if said is None or old.packet(*one, established=True) is not None:
            continue
        if any(one.peer in network for network in exempt):
            continue
        service, judged = said
        cut[service, judged.region] += 1
        if judged.row.rung == "default":
            left_out[service, judged.region] += 1
    return Cut(dict(opened), dict(cut.most_common()), dict(left_out.most_common()))
