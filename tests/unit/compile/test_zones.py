# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_address

import pytest

from geodrop.compile import zones as module
from geodrop.compile.zones import NO_REGION, Zones, build_zones
from geodrop.errors import PolicyError
from geodrop.policy.ladder import build_ladder
from geodrop.policy.model import Policy, Verdict
from tests.unit.compile.worlds import CRIMEA, KYIV, UA, policy, region_map, service


def zones_of(given: Policy) -> Zones:
    """Return the zones of a policy over the small world."""
    return build_zones(given, [build_ladder(given, one) for one in given.services], region_map())


def at(zones: Zones, address: str) -> int:
    """Return the zone of an address."""
    parsed = ip_address(address)
    return (zones.ipv4 if parsed.version == 4 else zones.ipv6).value_at(int(parsed))


def test_subdivision_that_nobody_names_is_its_country() -> None:
    """Only the subdivisions that a policy names take a zone."""
    zones = zones_of(policy(service(deny=["UA-43"])))
    assert CRIMEA in zones.regions
    assert KYIV not in zones.regions
    assert at(zones, "30.2.0.1") == at(zones, "30.3.0.1") == at(zones, "2000::1")
    assert at(zones, "30.1.0.1") != at(zones, "30.3.0.1")
    assert UA in zones.regions


def test_verdicts_do_not_show_in_zones() -> None:
    """Moving regions, prefixes and lists between allow and deny leaves every zone and interval as it was."""
    lists = {"a": ["20.6.0.0/16"], "b": ["20.7.0.0/16", "20.9.0.0/16"]}
    one = zones_of(policy(service(deny=["UA", "20.5.0.0/16", "list:a"], allow=["list:b"]), **lists))
    other = zones_of(
        policy(service(allow=["UA", "20.5.0.0/16", "list:a"], deny=["list:b"], default=Verdict.DROP), **lists)
    )
    assert one.keys == other.keys
    assert one.ipv4.starts.tolist() == other.ipv4.starts.tolist()
    assert one.ipv4.values.tolist() == other.ipv4.values.tolist()


def test_region_is_no_part_of_the_key_where_a_prefix_decides() -> None:
    """A prefix over two countries is one zone if every service decides by it, and two if one service does not."""
    spanning = "16.0.0.0/4"  # holds 20/8 (US) and 30/8 (UA)
    alone = zones_of(policy(service(deny=[spanning])))
    assert at(alone, "20.0.0.1") == at(alone, "30.0.0.1")
    assert alone.keys[at(alone, "20.0.0.1")].region == NO_REGION
    beside = zones_of(policy(service(deny=[spanning]), service("web", port=80)))
    assert at(beside, "20.0.0.1") != at(beside, "30.0.0.1")


def test_longest_prefix_wins_over_nested_lists() -> None:
    """Prefix rules nest; each address belongs to the longest prefix that holds it, from whichever list."""
    given = policy(service(deny=["list:wide"], allow=["20.1.0.0/16"]), wide=["20.0.0.0/8", "20.1.2.0/24"])
    zones = zones_of(given)
    labels = list(build_ladder(given, given.services[0]).labels)
    winner = {
        address: labels[zones.keys[at(zones, address)].winners[0]] for address in ("20.9.0.1", "20.1.0.1", "20.1.2.1")
    }
    assert winner == {"20.9.0.1": "list:wide", "20.1.0.1": "20.1.0.0/16", "20.1.2.1": "list:wide"}


def test_a_list_is_one_zone_however_long() -> None:
    """The policy cannot tell the prefixes of a list apart, so a hundred thousand of them take one zone."""
    networks = [f"20.{number // 128}.{number % 128 * 2}.0/24" for number in range(5000)]
    zones = zones_of(policy(service(deny=["list:long"]), long=networks))
    assert len({at(zones, f"20.{number}.0.1") for number in range(39)}) == 1
    assert len(zones.keys) == len(zones_of(policy(service(deny=["list:long"]), long=networks[:1])).keys)


def test_too_many_zones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit of the file format the policy is refused with the figure; zones are never left out."""
    monkeypatch.setattr(module, "MAX_ZONES", 3)
    with pytest.raises(PolicyError, match="zones, 3 is the most"):
        zones_of(policy(service(deny=["UA-43"])))
