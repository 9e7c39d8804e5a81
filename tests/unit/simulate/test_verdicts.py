# SPDX-License-Identifier: Apache-2.0
"""The verdicts of thousands at once are those of `explain`, one by one."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geodrop.ruleset.explain import explain
from geodrop.ruleset.model import Ruleset
from geodrop.simulate.verdicts import Verdicts
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database

if TYPE_CHECKING:
    from pathlib import Path

DRAWN = """
version: 1
lists: {cloud: {asn: [64496]}}
groups: {bad: ["list:cloud", IR]}
services:
  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: ["group:bad"]}
  web: {match: {ports: {tcp: [80]}}, default: allow, unknown: allow, deny: [IR]}
"""
POLICY = """
version: 1
lists: {bad: {prefixes: [8.8.0.0/16, "2400:cb00::/32"]}}
never_drop: {prefixes: [1.0.0.0/25]}
services:
  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: [IR, list:bad], mode: monitor}
  web: {match: {ports: {tcp: [80]}}, default: deny, unknown: deny, allow: [IR, US]}
"""
ADDRESSES = [
    *("0.0.0.1", "1.0.0.1", "1.0.0.129", "1.0.1.0", "8.8.8.8", "8.9.0.1", "9.9.9.9", "10.0.0.1", "255.255.255.255"),
    *(
        "2400:cb00::1",
        "2400::1",
        "2600::1",
        "::",
        "2002:100:81::1",
        "2002:808:808::1",
        "2002:a00:1::",
        "64:ff9b::100:81",
    ),
    *("2001:0:1:2:3:4:f7f7:f7f7", "fe80::1", "2001:db8::1"),
]


@pytest.mark.parametrize("services", [{"api"}, {"web"}, {"api", "web"}, set()])
def test_as_explain(tmp_path: Path, services: set[str]) -> None:
    """Prefixes, never-drop, lists, special and embedded addresses: dropped where a chosen service drops."""
    records = {"1.0.0.0/24": country("IR"), "8.0.0.0/8": country("US"), "2400::/12": country("IR")}
    ruleset = Ruleset.open(Geodrop(tmp_path).compile(POLICY, write_database(tmp_path / "d.mmdb", records)))
    verdicts = Verdicts(ruleset, frozenset(services))
    for text in ADDRESSES:
        address = IPv6Address(text) if ":" in text else IPv4Address(text)
        expected = any(one.would_drop for one in explain(ruleset, address, time.time()) if one.service in services)
        if isinstance(address, IPv4Address):
            label = int(verdicts.of_ipv4(np.array([int(address)], np.uint32))[0])
        else:
            label = verdicts.of_ipv6(address.packed)
        assert (label >= 0) == expected, text
        assert label < len(verdicts.labels)
    if "api" in services:
        assert verdicts.labels[int(verdicts.of_ipv4(np.array([int(IPv4Address("1.0.0.129"))], np.uint32))[0])] == "IR"


def test_what_a_drawn_list_drops_is_counted_under_its_name(tmp_path: Path) -> None:
    """The list is named although the region is known, and although the line of the policy is a group."""
    records = {"1.0.0.0/24": country("IR"), "8.0.0.0/8": {**country("US"), "asn": "AS64496"}}
    ruleset = Ruleset.open(Geodrop(tmp_path).compile(DRAWN, write_database(tmp_path / "d.mmdb", records)))
    verdicts = Verdicts(ruleset, frozenset({"api", "web"}))
    found = verdicts.of_ipv4(
        np.array([int(IPv4Address(text)) for text in ("8.1.1.1", "1.0.0.1", "9.9.9.9")], np.uint32)
    )
    assert [verdicts.labels[number] if number >= 0 else None for number in found.tolist()] == ["list:cloud", "IR", None]
