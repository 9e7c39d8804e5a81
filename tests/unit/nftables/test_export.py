# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest

from geodrop.errors import DataError
from geodrop.nftables import export, names, render
from geodrop.nftables.netlink.expressions import NamedCounter
from tests.support.rulesets import Service, ruleset

DENIED = {
    "1.0.1.0/24": "CN",
    "9.9.9.0/24": "never-drop else CN",
    "240e::/20": "CN",
    "2002::/16": "6to4",
    "2001::/32": "teredo",
    "64:ff9b::/96": "nat64",
}
RULES = ruleset(
    Service("api", DENIED, tcp=((443, 443),), starts=1_720_483_200, action="reject"),
    Service("rest", {"2.0.0.0/8": "RU"}),
)


def exported(*interfaces: str) -> str:
    """Return the whole text."""
    return "".join(export.nft(RULES, interfaces))


def block(text: str, head: str) -> str:
    """Return what is between the braces of a chain, map or counter."""
    found = re.search(rf"^  {re.escape(head)} \{{\n(.*?)^  \}}$", text, re.MULTILINE | re.DOTALL)
    assert found, head
    return found[1]


def test_heading() -> None:
    """The heading tells the digest, how to load and remove the table, and where packets are judged."""
    lines = exported("eth0").split("\ntable", 1)[0].splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    heading = "\n".join(lines)
    for expected in (RULES.digest, "nft -f FILE", f"nft delete table inet {export.TABLE}", "eth0"):
        assert expected in heading


def test_a_table_of_its_own_replaced_as_a_whole() -> None:
    """The text adds, deletes and adds the table, so an older version is replaced; it names no other table."""
    text = exported()
    declared = re.findall(r"^(table|delete table) (\S+ \S+)", text, re.MULTILINE)
    ours = f"inet {export.TABLE}"
    assert declared == [("table", ours), ("delete table", ours), ("table", ours)]
    assert names.TABLE != export.TABLE


def test_interfaces() -> None:
    """Packets are judged on the named interfaces, or on all but loopback."""
    assert '    iifname "eth0" goto g0 ' in block(exported("eth0", "ens*"), "chain prerouting")
    assert '    iifname "ens*" goto g0 ' in block(exported("eth0", "ens*"), "chain prerouting")
    assert '    iifname != "lo" goto g0 ' in block(exported(), "chain prerouting")
    assert "type filter hook prerouting priority -450; policy accept;" in block(exported(), "chain prerouting")


def test_starts_is_left_to_the_kernels_clock() -> None:
    """Even a past `starts` becomes a rule: the text depends on nothing but the ruleset."""
    assert "meta time < 1720483200 counter" in block(exported(), "chain g0-api.CN.ipv6")
    assert exported() == exported()


def test_maps_for_addresses_inside_ipv6() -> None:
    """A service with embedded addresses gets a copy of its IPv4 map with numbers as keys; it leads to IPv6 chains."""
    text = exported()
    maps = re.findall(r"^  map (\S+) \{$", text, re.MULTILINE)
    assert maps == ["g0-api.ipv4", "g0-api.inside", "g0-api.ipv6", "g0-rest.ipv4"]
    assert "    typeof @nh,80,32 : verdict\n" in block(text, "map g0-api.inside")
    assert "16777472-16777727 : goto g0-api.CN.ipv6," in block(text, "map g0-api.inside")
    assert "151587072-151587327 : goto g0-api.CN.ipv6," in block(text, "map g0-api.inside")
    assert "9.9.9.0-9.9.9.255 : goto g0-api.never-drop," in block(text, "map g0-api.ipv4")


def test_every_counter_of_the_live_table() -> None:
    """The exported table has counters of the same names as the live one, for the same tools."""
    built = render.build(RULES, 1, [], 0)
    counted = {
        part.name
        for chain in built.chains
        for rule in chain.rules
        for part in rule.expressions
        if isinstance(part, NamedCounter)
    }
    assert set(re.findall(r"^  counter (\S+) ", exported(), re.MULTILINE)) == counted


def test_names_of_a_damaged_ruleset_stay_out() -> None:
    """Names from a damaged file cannot add nft statements."""
    with pytest.raises(DataError):
        "".join(export.nft(ruleset(Service("api; drop", {"1.0.0.0/8": "CN"}))))
    with pytest.raises(DataError):
        "".join(export.nft(ruleset(Service("api", {"1.0.0.0/8": 'CN"'}))))
