# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from geodrop.errors import PolicyError
from geodrop.policy.drawn import MAX_ASNS
from geodrop.policy.model import AddressList, TraitName
from geodrop.policy.parse import load_policy

SERVICE = "services: {api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: ['list:l']}}"


def parsed(body: str) -> AddressList:
    """Return the list `l` of a policy."""
    policy, warnings = load_policy(f"version: 1\nlists: {{l: {body}}}\n{SERVICE}".encode(), "policy.yaml", _no_lists)
    assert warnings == []
    return policy.lists["l"]


def mistakes(body: str) -> str:
    """Return what is said of a list with mistakes."""
    with pytest.raises(PolicyError) as failure:
        parsed(body)
    return str(failure.value)


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)


def test_numbers_of_networks() -> None:
    """Both ways to write a number are read, once each, in order."""
    found = parsed("{asn: [64496, AS15169, AS64496, 4294967295]}")
    assert found.asns == (64_496, 15_169, 4_294_967_295)
    assert found.drawn
    assert (found.prefixes, found.traits) == ((), ())


def test_traits_with_and_without_a_confidence() -> None:
    """A trait stands alone or with the least confidence in percent, written in either way."""
    found = parsed("{traits: [{vpn: 50}, hosting, {proxy: 99%}, {relay: 1, anycast: 9}]}")
    assert [(trait.name, trait.confidence) for trait in found.traits] == [
        (TraitName.VPN, 50),
        (TraitName.HOSTING, 0),
        (TraitName.PROXY, 99),
        (TraitName.RELAY, 1),
        (TraitName.ANYCAST, 9),
    ]
    assert [str(trait) for trait in found.traits][:2] == ["vpn 50", "hosting"]
    assert found.drawn


@pytest.mark.parametrize("name", TraitName)
def test_every_trait_can_be_named(name: TraitName) -> None:
    """Each trait is read under its name."""
    assert [trait.name for trait in parsed(f"{{traits: [{name}]}}").traits] == [name]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{asn: [0]}", '2:19: error: entry of asn of list "l": "0" is not the number of a network; write one such as'),
        ("{asn: [as15169]}", "AS is written in capitals; write AS15169"),
        ("{asn: [4294967296]}", "numbers of networks end at 4294967295; write a smaller one"),
        ("{asn: [AS64496-AS64511]}", "is not the number of a network"),
        ("{asn: 64496}", "must be a list; write [64496]"),
        ("{asn: []}", 'asn of list "l" is empty; write at least one, such as [64496]'),
        ("{asn: {64496: x}}", "is a table, but must be a list"),
        (f"{{asn: {list(range(1, MAX_ASNS + 2))}}}", "has 30,001 networks, 30,000 is the most; make two lists of it"),
        ("{traits: []}", 'traits of list "l" is empty; write at least one, such as [vpn]'),
        ("{traits: [tor]}", '2:22: error: entry of traits of list "l": "tor" is not a trait; write tor_exit'),
        ("{traits: [is_vpn]}", "write vpn"),
        ("{traits: [Hosting]}", "write hosting"),
        (
            "{traits: [abuse]}",
            "write one of vpn, proxy, tor_exit, hosting, residential_proxy, relay, anycast, satellite",
        ),
        ("{traits: [{vpn: 100}]}", "is not a confidence; write a percentage from 1 to 99"),
        ("{traits: [{vpn: high}]}", "is not a confidence"),
        ("{traits: [{vpn: [50]}]}", "confidence in traits of list"),
        ("{traits: [{}]}", "is empty; write one such as vpn"),
        ("{traits: [vpn, {vpn: 50}]}", 'vpn is in traits of list "l" twice; keep one of the two'),
        ("{asn: [1], traits: [vpn]}", "has asn and traits; write exactly one of prefixes, file, asn, traits"),
        (
            "{asn: [1], guard: {entries: 1-}}",
            "a guard is for prefixes and files, and this list is drawn from databases",
        ),
    ],
)
def test_mistakes_say_where_and_what_to_write(body: str, said: str) -> None:
    """Each mistake is one error that says what to write."""
    found = mistakes(body)
    assert said in found
    assert found.count(" error: ") == 1
