# SPDX-License-Identifier: Apache-2.0
"""Follow a packet through the loaded table: from the hook and the interface it arrives on to a verdict.

Every rule on the way, and every map element, is read back from the kernel. No packet is sent.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from geodrop.nftables import names
from geodrop.nftables.netlink import uapi
from geodrop.nftables.netlink.expressions import MetaLoad, Other, RuleVerdict
from geodrop.nftables.netlink.uapi import MetaKey, VerdictCode
from geodrop.nftables.walk import Walk

if TYPE_CHECKING:
    from geodrop.engine.probes import Probe
    from geodrop.nftables.answers import Answers
    from geodrop.nftables.model import Snapshot
    from geodrop.nftables.netlink.expressions import Expression

_HEADER = {4: 20, 6: 40}
_PROTOCOL_AT = {4: 9, 6: 6}
_IFNAMSIZ = 16


class Trace(Walk):
    """One packet without options, extension headers or fragmentation; `now` in seconds since the epoch."""

    def __init__(self, answers: Answers, snapshot: Snapshot, probe: Probe, now: float) -> None:
        super().__init__(answers, snapshot, str(probe.source), now)
        self._base = snapshot.chains.get(names.BASE)
        version = probe.source.version
        # Rules may read the whole packet, not only its source address.
        self._header, self._transport = probe.packet[: _HEADER[version]], probe.packet[_HEADER[version] :]
        self._source_at = 0
        self._about_packet = {**self._known, MetaLoad(MetaKey.L4PROTO): self._header[_PROTOCOL_AT[version] :][:1]}
        self._led_to: dict[str, str] = {}
        self._unread = False

    def verdict(self, number: int, name: str) -> str:
        """Return the packet's verdict on the interface of that number and name.

        "accept" or "drop"; "unknown" if a rule on the way, not written by geodrop, cannot be understood.
        """
        self._unread = False
        said = self._follow(number, name)
        return "unknown" if self._unread else said

    def _follow(self, number: int, name: str) -> str:
        self._known = {
            **self._about_packet,
            MetaLoad(MetaKey.IIF): number.to_bytes(4, sys.byteorder),
            MetaLoad(MetaKey.IIFNAME): name.encode().ljust(_IFNAMSIZ, b"\0"),
        }
        if self._base is None or self._base.hook is None or self._base.hook.number != uapi.NF_INET_PRE_ROUTING:
            return "accept"  # no hook calls the chain
        for rule in self._base.rules:
            match self._rule(rule):
                case RuleVerdict(VerdictCode.GOTO, chain):
                    # From here on the way is the same for every interface.
                    if chain not in self._led_to:
                        said = _said(self._chain(chain))
                        self._led_to[chain] = "unknown" if self._unread else said
                    return self._led_to[chain]
                case RuleVerdict(code):
                    return _said(code)
        return "accept"

    def _load(self, part: Expression, loaded: bytes) -> bytes | None:
        self._unread = self._unread or isinstance(part, Other)
        return super()._load(part, loaded)


def _said(code: VerdictCode) -> str:
    """Return the verdict in words. A packet that returns to the base chain meets its policy, which is to accept."""
    return "drop" if code is VerdictCode.DROP else "accept"
