# SPDX-License-Identifier: Apache-2.0
"""Look up addresses in the kernel: the zone by the program itself, the row in the policy map."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from geodrop.engine.api import KernelVerdict
from geodrop.linux.clock import monotonic
from geodrop.ruleset.model import Embedding
from geodrop.ruleset.ramp import bucket
from geodrop.xdp import exempt
from geodrop.xdp import layout as lay
from geodrop.xdp.encode import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.program_set import ProgramSet

WORDS = {
    lay.ROW_ACCEPT: "accept",
    lay.ROW_DROP: "drop",
    lay.ROW_EMBEDDED: "embedded",
    lay.ROW_NEVER_DROP: "never-drop",
}


def keys(family: int, address: int) -> tuple[int, int, int]:
    """Return an address as the program takes it: family, upper key, lower key."""
    if family == 4:
        return 4, address << 32, 0
    return 6, address >> 64, address & 0xFFFF_FFFF_FFFF_FFFF


def judge(programs: ProgramSet, ruleset: Ruleset, addresses: Sequence[str], now: float) -> list[list[KernelVerdict]]:
    """Return a verdict for each address and service, as of `now`, in seconds since the epoch."""
    word = programs.word()
    head = programs.head(word.policy)
    rows = memoryview(programs.policy_bytes(word.policy))[lay.POLICY_BYTES :].cast("I")
    parsed = [ip_address(address) for address in addresses]
    zones = programs.ask(word.tables, [keys(address.version, int(address)) for address in parsed])
    inside = programs.ask(
        word.tables,
        [keys(4, _embedded(ruleset, zone, int(address))) for zone, address in zip(zones, parsed, strict=True)],
    )
    entries, moment = exempt.read(programs.fds["exempt"]), monotonic()
    answers = []
    for zone, embedded, address in zip(zones, inside, parsed, strict=True):
        verdicts = []
        passes = exempt.is_exempt(entries, address, moment)
        for number, service in enumerate(ruleset.meta.services):
            where = f"IPv{address.version} zone {zone}"
            row = rows[zone * 2 << head.row_bits | number]
            if row & 3 == lay.ROW_EMBEDDED and isinstance(address, IPv6Address):
                where += f", embedded IPv4 zone {embedded}"
                row = rows[(embedded * 2 + 1) << head.row_bits | number]
            drops = row & 3 == lay.ROW_DROP
            enforced = bool(head.service[number].flags & lay.SERVICE_ENFORCE) and started(head, number, now)
            in_share = not service.ramp or bucket(service.name, address) < share_now(head, number, now)
            verdict = "drop" if drops and enforced and in_share and not passes else "accept"
            target = f"row {WORDS[row & 3]}"
            verdicts.append(KernelVerdict(service.name, verdict, where, target, drops, drops and passes))
        answers.append(verdicts)
    return answers


def started(head: lay.PolicyLayout, number: int, now: float) -> bool:
    """Tell whether a service's `starts` has passed."""
    return bool(head.service[number].starts <= (now + head.tai_offset) * NANOSECONDS)


def share_now(head: lay.PolicyLayout, number: int, now: float) -> int:
    """Return the share of sources that a service's ramp drops, in buckets, by the steps in the map."""
    moment = (now + head.tai_offset) * NANOSECONDS
    return max((step.share for step in head.service[number].step if step.moment <= moment), default=0)


def _embedded(ruleset: Ruleset, zone: int, address: int) -> int:
    """Return the IPv4 address inside an address of a zone; 0 if there is none."""
    embedding = ruleset.meta.zones[zone].embedding
    return Embedding(embedding).extract(address) if embedding else 0
