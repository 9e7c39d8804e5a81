# SPDX-License-Identifier: Apache-2.0
"""The bench of the conformance suite: a sender, a judged host, and an observer behind the engine.

    sender ─eth0─── host ─── 30.0.0.0/24 and 2600:30::/64, which it forwards
           ─eth1───

Frames are numbered, in the identification of IPv4 or the flow label of IPv6. A separate nftables table in the host,
just after geodrop's place in prerouting and again where packets are forwarded, records the numbers that pass. The
sender has no addresses and no IPv6 of its own, so that only the packets of a case are on the wire.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.frames import encode
from tests.oracle.packet import LOCAL
from tests.support.namespaces import End, Namespace, PacketSender, join, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.conformance.case import Expectation

JUDGED, OPEN = "eth0", "eth1"

# A number fits both fields; the kernel's own packets carry 0.
MAX_NUMBER = 0xFFFF

SETS = ("arrived4", "arrived6", "forwarded4", "forwarded6")

OBSERVER = """
table inet observer {
  set arrived4 { typeof ip id; flags dynamic; size 65535; }
  set arrived6 { typeof ip6 flowlabel; flags dynamic; size 65535; }
  set forwarded4 { typeof ip id; flags dynamic; size 65535; }
  set forwarded6 { typeof ip6 flowlabel; flags dynamic; size 65535; }
  chain prerouting {
    type filter hook prerouting priority -440; policy accept
    iifname "eth*" meta nfproto ipv4 add @arrived4 { ip id }
    iifname "eth*" meta nfproto ipv6 add @arrived6 { ip6 flowlabel }
  }
  chain forward {
    type filter hook forward priority 0; policy accept
    oifname "beyond0" meta nfproto ipv4 add @forwarded4 { ip id }
    oifname "beyond0" meta nfproto ipv6 add @forwarded6 { ip6 flowlabel }
    drop
  }
}
"""


@dataclass
class Wire:
    """The bench, set up."""

    host: Namespace
    senders: dict[str, PacketSender]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.cycle(range(1, MAX_NUMBER)))

    def send(self, expectations: Sequence[Expectation]) -> tuple[list[bool], list[bool], list[int]]:
        """Send each packet on its interface; return whether it arrived, whether it was forwarded, and its IP length."""
        self.host.nft("".join(f"flush set inet observer {name}\n" for name in SETS))
        numbers, lengths = [], []
        for expectation in expectations:
            number = next(self._numbers) if expectation.number is None else expectation.number
            frame = encode(expectation.packet, number)
            sender = self.senders[expectation.via]
            sender.send_tagged(frame, expectation.packet.tags)
            numbers.append((f"{expectation.packet.family}", number))
            lengths.append(len(frame))
        seen = self._seen()
        arrived = [number in seen["arrived" + family] for family, number in numbers]
        forwarded = [number in seen["forwarded" + family] for family, number in numbers]
        return arrived, forwarded, lengths

    def _seen(self) -> dict[str, set[int]]:
        listing = json.loads(self.host.run("nft", "--json", "list", "table", "inet", "observer"))
        sets = [item["set"] for item in listing["nftables"] if "set" in item]
        return {one["name"]: set(one.get("elem", ())) for one in sets}


@contextlib.contextmanager
def make_wire() -> Iterator[Wire]:
    """Set up the bench, and take it down."""
    with namespaces("sender", "host", "beyond") as [sender, host, beyond]:
        with sender.entered():
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1", encoding="ascii")
        with host.entered():
            for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", setting).write_text("1", encoding="ascii")
        ends = {}
        for name, addresses in ((JUDGED, [f"{LOCAL[4]}/24", f"{LOCAL[6]}/64"]), (OPEN, [])):
            ends[name] = End(sender, name), End(host, name, addresses)
            join(*ends[name])
        join(End(host, "beyond0", ["30.0.0.1/24", "2600:30::1/64"]), End(beyond, "beyond0"))
        host.nft(OBSERVER)
        with contextlib.ExitStack() as stack:
            senders = {name: stack.enter_context(PacketSender(*pair)) for name, pair in ends.items()}
            yield Wire(host, senders)
