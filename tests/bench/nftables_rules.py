# SPDX-License-Identifier: Apache-2.0
"""What one question costs a packet on nftables: copies of a rule that asks it, in one chain, beside none.

These rows say what `nft_packet_window`, `nft_packet_exempt` and `nft_packet_ramp` can reach at best: a rule that only
asks what theirs ask, written as text. There are many copies, so that noise does not matter.
"""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from geodrop.state.exemptions import MOST
from tests.bench.generator import SOURCES
from tests.bench.nftables_packets import FEW, INTERFACE, path
from tests.bench.report import against, beyond, compared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.report import Row

ROUNDS = 30
COPIES = 40
COMPARISON = "meta mark & 0x0 == 0x1"
QUESTIONS = {
    "nft_rule_window": "meta mark & 0x0 == @window",
    "nft_rule_nobody": "ip saddr @nobody",
    "nft_rule_few": "ip saddr @few",
    "nft_rule_most": "ip saddr @most",
    "nft_rule_hashed": "ip saddr @hashed",
    "nft_rule_ramp": "jhash @nh,96,24 mod 10000 seed 0x1 >= 9999",
}
"""The rules by row. None of them ends a packet's way: what matches is followed by the next copy."""
ROWS = tuple(QUESTIONS)


def rows() -> Iterator[Row]:
    """`nft_rule_*`: nanoseconds of one rule, against one that compares a number."""
    sources = [IPv4Address((1 << 24) + number) for number in range(SOURCES)]
    with contextlib.ExitStack() as stack:
        sends = []
        for rule in ("", COMPARISON, *QUESTIONS.values()):
            netns, send = stack.enter_context(path(sources))
            netns.nft(_table(rule))
            sends.append(send)
        nothing, *asked = compared(ROUNDS, *sends)
    comparison, *questions = ([each / COPIES for each in beyond(one, nothing)] for one in asked)
    for name, values in zip(QUESTIONS, questions, strict=True):
        yield against(name, "ns", f"a comparison ({COMPARISON})", values, comparison)


def _table(rule: str) -> str:
    """Return the text of a table that asks this of each packet that arrives, and drops it."""
    return f"""table netdev bench {{
  set window {{ type mark; flags timeout; elements = {{ 0x0 timeout 1d }}; }}
  set nobody {{ type ipv4_addr; flags interval,timeout; counter; }}
  set few {{ type ipv4_addr; flags interval,timeout; counter; elements = {{ {_exempt(FEW)} }}; }}
  set most {{ type ipv4_addr; flags interval,timeout; counter; elements = {{ {_exempt(MOST)} }}; }}
  set hashed {{ type ipv4_addr; flags timeout; counter; elements = {{ {_exempt(MOST)} }}; }}
  chain ingress {{
    type filter hook ingress device "{INTERFACE}" priority 0; policy drop;
{f"    {rule}{chr(10)}" * COPIES if rule else ""}  }}
}}
"""


def _exempt(count: int) -> str:
    """Return this many elements, none of which is a source of the bench."""
    return ", ".join(f"{IPv4Address(0xE000_0000 + 2 * number)} timeout 1d" for number in range(count))
