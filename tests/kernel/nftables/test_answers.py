# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from geodrop.nftables import readback
from geodrop.nftables.answers import Answers
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink.connection import Connection
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geodrop.nftables.netlink.wire import NetlinkRequest

pytestmark = pytest.mark.usefixtures("netns")

ADDRESSES = [ip_address(text).packed for text in ("1.0.1.9", "1.0.2.0", "240e::1", "2400::", "255.255.255.255")]


class Counted(Connection):
    """A connection that counts how often it asks the kernel."""

    asked = 0

    def ask(self, requests: Sequence[NetlinkRequest]) -> list[memoryview | None]:
        """Ask the kernel, and count."""
        self.asked += bool(requests)
        return super().ask(requests)


def test_asked_ahead_is_as_asked_alone() -> None:
    """One question about many addresses gives the same answers as one question for each; others are asked later."""
    rules = ruleset(Service("api", {"1.0.1.0/24": "CN", "224.0.0.0/3": "list:bad", "240e::/20": "CN"}))
    NftablesEngine().apply(rules, 1, ["eth0"])
    with Counted() as connection:
        snapshot = readback.read(connection)
        assert snapshot is not None
        maps = {"g1-api.ipv4": 4, "g1-api.ipv6": 16}
        ahead, alone = Answers(connection), Answers(connection)
        connection.asked = 0
        ahead.ask_ahead([snapshot.maps[name] for name in maps], ADDRESSES)
        assert connection.asked == 1
        pairs = [(name, key) for name, width in maps.items() for key in ADDRESSES if len(key) == width]
        found = [ahead.of(*pair) for pair in pairs]
        assert connection.asked == 1
        assert found == [alone.of(*pair) for pair in pairs]
        assert connection.asked == 1 + len(pairs)
        starts = [element and element[0] for element, _ in found]
        assert starts == [
            *(bytes((1, 0, 1, 0)), None, bytes((224, 0, 0, 0))),
            *(ip_address("240e::").packed, None),
        ]
