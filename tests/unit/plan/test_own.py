# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from geodrop.linux.routes import Surroundings
from geodrop.plan.judge import Judge
from geodrop.plan.operators import SshPeer
from geodrop.plan.own import OwnDropped, newly_dropped, read_resolvers, sources
from tests.unit.plan.conftest import POLICY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.plan.conftest import Compile

AROUND = Surroundings(
    (ip_address("5.0.0.9"), ip_address("192.0.2.1")),
    (ip_address("5.0.0.254"),),
    (ip_network("4.0.0.0/6"), ip_network("2a02::/15")),
)
SSH = SshPeer(ip_address("5.1.1.1"), ip_address("192.0.2.1"), 22)


def test_each_kind_is_told(ruleset: Compile) -> None:
    """Own addresses, gateways, routes, resolvers and the SSH peer are told with the service that newly drops them."""
    old, new = Judge(ruleset(), ["api"]), Judge(ruleset(POLICY.replace("CN", "RU")), ["api"])
    looked_at = sources(AROUND, [ip_address("5.0.0.53"), ip_address("2.0.0.53")], [SSH])
    found, warnings = newly_dropped(old, new, looked_at)
    assert warnings == []
    assert found == [
        OwnDropped("address", "5.0.0.9", "api"),
        OwnDropped("gateway", "5.0.0.254", "api"),
        OwnDropped("resolver", "5.0.0.53", "api"),
        OwnDropped("ssh", "5.1.1.1", "api"),
        OwnDropped("route", "4.0.0.0/6", "api"),
        OwnDropped("route", "2a02::/15", "api"),
    ]
    assert found[0].as_json() == {"what": "address", "address": "5.0.0.9", "service": "api"}


def test_what_is_dropped_already_is_not_new(ruleset: Compile) -> None:
    """What the ruleset in force drops as well is not told."""
    one = Judge(ruleset(POLICY.replace("CN", "RU")), ["api"])
    assert newly_dropped(one, one, sources(AROUND, [], [SSH])) == ([], [])


@pytest.mark.parametrize(("old", "new"), [("[RU]", "[RU, 5.0.0.128/25]"), ("[RU]", "[RU]")])
def test_a_part_that_both_drop(ruleset: Compile, old: str, new: str) -> None:
    """A network is told if any part of it is newly dropped: here no part is."""
    before, after = (Judge(ruleset(POLICY.replace("[CN]", deny)), ["api"]) for deny in (old, new))
    assert newly_dropped(before, after, [("route", ip_network("5.0.0.0/24"))]) == ([], [])


def test_a_part_in_the_middle(ruleset: Compile) -> None:
    """A prefix in the middle of a route is found, though its first and last address pass."""
    old, new = Judge(ruleset(), ["api"]), Judge(ruleset(POLICY.replace("[CN]", "[5.0.7.0/24]")), ["api"])
    assert newly_dropped(old, new, [("route", ip_network("5.0.0.0/16"))])[0] == [
        OwnDropped("route", "5.0.0.0/16", "api")
    ]


def test_resolvers(tmp_path: Path) -> None:
    """The resolvers of all files, each once; what is damaged or unreadable is told, and a missing file is no fault."""
    one, two = tmp_path / "resolv.conf", tmp_path / "upstream"
    one.write_text("# comment\nsearch example.org\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver x\n")
    two.write_text("nameserver 127.0.0.53\nnameserver 9.9.9.9\n")
    found, warnings = read_resolvers([str(one), str(two), str(tmp_path / "none"), str(tmp_path)])
    assert found == [ip_address(text) for text in ("127.0.0.53", "fe80::1", "9.9.9.9")]
    assert len(warnings) == 2
    assert "'x' is no address" in warnings[0]
    assert "is a directory" in warnings[1]
