# SPDX-License-Identifier: Apache-2.0
"""Tests in a policy against the oracle: each holds exactly if plain `ipaddress` finds no address against it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple

import maxminddb
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from geodrop.compile.build import assemble_untested
from geodrop.compile.expect import failed_tests
from geodrop.geo.database import Database
from geodrop.policy.model import Aim
from geodrop.policy.parse import load_policy
from tests.oracle import world
from tests.oracle.ladder import Oracle
from tests.oracle.strategies import cases, embed
from tests.support.databases import write_database
from tests.support.worlds import regions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from geodrop.policy.model import Network, PolicyTest
    from tests.oracle.strategies import Case

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FIRST = re.compile(r"first (\S+?)( inside it)?(?:\)|: )|[ (]([0-9./]+) inside it")


class Draft(NamedTuple):
    """A test to be written: what it expects is what the oracle says of the first or last address of its network."""

    network: Network
    about_region: bool
    by_last: bool


@st.composite
def drafts(draw: st.DrawFn) -> tuple[Case, list[Draft]]:
    """Return a case, and tests about networks of any length around its boundaries."""
    case = draw(cases())
    found: dict[str, Draft] = {}
    for _ in range(draw(st.integers(5, 15))):
        address = ip_address(draw(st.sampled_from(case.addresses)))
        bits = address.max_prefixlen
        length = draw(st.one_of(st.integers(bits // 8, bits), st.integers(bits - 8, bits)))
        network = ip_network((int(address) >> bits - length << bits - length, length))
        found.setdefault(str(network), Draft(network, draw(st.booleans()), draw(st.booleans())))
    return case, [*found.values()]


def written(case: Case, drawn: list[Draft], oracle: Oracle) -> str:
    """Return the policy of a case with the tests in each service; so most tests hold for some of their addresses."""
    policy = json.loads(case.policy)
    for name, service in policy["services"].items():
        expect: dict[str, Any] = {"accept": [], "drop": [], "region": {}}
        for network, about_region, by_last in drawn:
            like = str(network[-1 if by_last else 0])
            if about_region:
                expect["region"][str(network)] = str(oracle.region(ip_address(like)))
            else:
                expect["drop" if oracle.explain(like)[name].would_drop else "accept"].append(str(network))
        service["expect"] = expect
    return json.dumps(policy, indent=1)


@settings(
    max_examples=40, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
@given(drawn=drafts())
def test_a_test_fails_exactly_if_an_address_is_against_it(
    drawn: tuple[Case, list[Draft]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """For a test that fails, the first prefix that it names has an address against it, and for one that holds no
    address at a boundary is: verdicts change only there.
    """
    case, networks = drawn
    folder = tmp_path_factory.mktemp("expect")
    files = [write_database(folder / f"{n}.mmdb", records) for n, records in enumerate(case.databases)]
    oracle = Oracle(case.policy, [maxminddb.open_database(file, maxminddb.MODE_MEMORY) for file in files], NOW)
    policy, _ = load_policy(written(case, networks, oracle).encode(), "policy.yaml", lambda _: b"")
    region_map = regions([Database.open(file.read_bytes(), file.name) for file in files], policy.corrections)
    meta, sections = assemble_untested(policy, region_map, [])
    failed = {problem.place: problem.message for problem in failed_tests(policy, meta, sections, region_map)}
    for service in policy.services:
        for test in service.expect:
            message = failed.pop(test.place, None)
            asked = candidates(test.network, case.addresses) if message is None else named(test.network, message)
            against = next((one for one in asked if not agrees(oracle, service.name, test, one)), None)
            assert (against is not None) == (message is not None), (service.name, test, message, against)
    assert not failed


def agrees(oracle: Oracle, service: str, test: PolicyTest, address: str) -> bool:
    """Return whether one address is as a test expects, by the oracle."""
    if test.region is None:
        return oracle.explain(address)[service].would_drop == (test.aim is Aim.DROP)
    wire = ip_address(address)
    inside = world.embedded(wire) if isinstance(wire, IPv6Address) else None
    if inside is None and world.is_special(wire):
        return False
    region = oracle.region(wire)
    names = {str(region), region.country, region.subdivision, region.inner, f"continent:{region.continent}"}
    return test.region in names if test.region != "unknown" else str(region) == "unknown"


def candidates(network: Network, boundaries: list[str]) -> Iterator[str]:
    """Yield the first and last address of a network, and those at boundaries inside it, also of embedded addresses."""
    yield from (str(network[0]), str(network[-1]))
    for text in boundaries:
        address = ip_address(text)
        if address in network:
            yield text
        if isinstance(address, IPv4Address) and network.version == 6:
            yield from inside(network, text)


def named(network: Network, message: str) -> list[str]:
    """Return the first address of the prefix that a message names; all of the network if it names none."""
    match = FIRST.search(message)
    if match is None:
        return [str(network[0])]
    if match[1] and not match[2]:
        assert ip_network(match[1]).subnet_of(network)  # type: ignore[arg-type]  # of the same family
        return [str(ip_network(match[1])[0])]
    return [*inside(network, str(ip_network(match[1] or match[3])[0]))]


def inside(network: Network, ipv4: str) -> Iterator[str]:
    """Yield the addresses of an IPv6 network that embed an IPv4 address; of many, the first and last."""
    for text in embed(ipv4):
        value = int(ip_address(text))
        spread = 80 if text.startswith("2002:") else 0
        for end in (int(network[0]), int(network[-1])):
            low = (1 << spread) - 1
            near = [value & ~low, value | low, value & ~low | end & low]
            near.append(end >> 32 << 32 | value & 0xFFFF_FFFF if text.startswith("2001:") else value)
            yield from (str(IPv6Address(one)) for one in near if IPv6Address(one) in network)
