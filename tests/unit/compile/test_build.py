# SPDX-License-Identifier: Apache-2.0
import dataclasses
from ipaddress import ip_address, ip_network

import pytest

from geodrop.compile import build as module
from geodrop.compile import nftables
from geodrop.compile.build import build, costly_services, doubts
from geodrop.compile.xdp import Tables, build_tables
from geodrop.compile.zones import Zones
from geodrop.errors import DataError, PolicyError
from geodrop.geo.world import correct
from geodrop.policy.model import Policy
from geodrop.ruleset import schema
from geodrop.ruleset.container import pack
from geodrop.ruleset.explain import explain
from geodrop.ruleset.model import SMALLER, CompiledCorrection, CompiledGroup, Input, Ruleset, meta_json
from tests.unit.compile.worlds import line, policy, region_map, service

INPUTS = [Input("policy", "policy.yaml", "00" * 32)]


def verdicts(given: Policy, *addresses: str) -> list[str]:
    """Return the verdicts of a compiled ruleset for some addresses, read back from its bytes."""
    ruleset = Ruleset.unpack(build(given, region_map(), INPUTS), "test")
    return [next(explain(ruleset, ip_address(address), 0)).verdict for address in addresses]


def test_ruleset_reads_back() -> None:
    """A compiled ruleset can be opened, passes all checks, and gives the ladder's verdicts in both families."""
    given = policy(service(deny=["UA"]))
    addresses = ["30.1.2.3", "20.0.0.1", "2000::5", "64:ff9b::1e00:1", "64:ff9b::1400:1", "2400::1"]
    assert verdicts(given, *addresses) == ["drop", "accept", "drop", "drop", "accept", "accept"]


def test_same_inputs_same_bytes() -> None:
    """A fleet can compare digests: the bytes do not depend on time, machine or order."""
    given = policy(service(deny=["UA", "20.1.0.0/16"]), service("web", port=80, deny=["US"]))
    assert build(given, region_map(), INPUTS) == build(given, region_map(), INPUTS)


def test_tables_are_taken_over_where_they_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of verdicts builds no xdp tables, and gives the same bytes as if they had been built."""
    before = policy(service(deny=["UA"], allow=["20.1.0.0/16"]))
    flipped = policy(service(deny=["US"], allow=["20.1.0.0/16"]))
    cut_again = policy(service(deny=["US"], allow=["20.2.0.0/16"]))
    previous = Ruleset.unpack(build(before, region_map(), INPUTS), "test")
    flipped_bytes, cut_bytes = (build(given, region_map(), INPUTS) for given in (flipped, cut_again))
    built = []

    def counted(zones: Zones) -> Tables:
        built.append(zones)
        return build_tables(zones)

    monkeypatch.setattr(module, "build_tables", counted)

    def with_previous(given: Policy, previous: Ruleset) -> bytes:
        meta, sections = module.assemble(given, region_map(), INPUTS, previous=previous)
        return pack(meta_json(meta), sections)

    assert with_previous(flipped, previous) == flipped_bytes
    assert not built
    assert with_previous(cut_again, previous) == cut_bytes
    assert len(built) == 1
    other_compiler = dataclasses.replace(previous, meta=dataclasses.replace(previous.meta, compiler="0.0.0"))
    without = Ruleset.unpack(build(before, region_map(), INPUTS), "test")
    for unfit in (other_compiler, without):
        assert with_previous(flipped, unfit) == flipped_bytes
    assert len(built) == 3


def test_subdivision_that_no_database_carries_is_refused() -> None:
    """A line that could never match is an error at its place."""
    with pytest.raises(PolicyError, match=r"policy\.yaml:1:1: error: UA-09: no loaded database carries"):
        build(policy(service(deny=["UA-09"])), region_map(), INPUTS)


def test_country_without_an_address_is_warned_of() -> None:
    """A line that names a country without an address gets a warning: an allow list would drop its clients."""
    given = policy(service(allow=["US", "JP"], deny=["UA"]))
    [problem] = doubts(given, region_map())
    assert str(problem).startswith("policy.yaml:1:1: warning: JP: no loaded database has an address of this country")
    assert build(given, region_map(), INPUTS)


def test_inputs_are_recorded() -> None:
    """The ruleset records its inputs."""
    ruleset = Ruleset.unpack(build(policy(service()), region_map(), INPUTS), "test")
    assert ruleset.meta.inputs == tuple(INPUTS)
    assert [one.name for one in ruleset.meta.services] == ["api"]


def test_groups_and_corrections_are_recorded() -> None:
    """A host can say which regions a group holds, and which country a correction has replaced, without the policy."""
    network = ip_network("20.1.0.0/16")
    given = dataclasses.replace(
        policy(service(deny=["UA"])),
        groups={"east": (line("UA"), line("continent:AS"), line("20.1.0.0/16"))},
        corrections={network: "UA"},
        corrected_at={network: 4},
    )
    meta = Ruleset.unpack(build(given, correct(region_map(), given.corrections), INPUTS), "test").meta
    assert meta.groups == (CompiledGroup("east", ("UA", "continent:AS", "20.1.0.0/16")),)
    assert meta.corrections == (CompiledCorrection("20.1.0.0/16", "UA", ("US",), 4),)


def test_more_than_a_kernel_should_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ruleset too large for a kernel is refused at compile and at load, with the map's name and what to do."""

    def compiled() -> bytes:
        return build(policy(service(deny=["UA"])), region_map(), INPUTS)

    data = compiled()
    monkeypatch.setattr(schema, "MAX_INTERVALS", 0)
    for make in (compiled, lambda: Ruleset.unpack(data, "test")):
        with pytest.raises(DataError, match=r"\(nft/api/ipv4: \d+ intervals, 0 is the most\)") as caught:
            make()
        assert caught.value.next_step == SMALLER


def test_what_is_large_on_nftables_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large service gets a warning at its place, with the cost and the alternative; a small one gets none."""
    given = policy(service(deny=["UA"]), service("web", port=80))
    _, sections = module.assemble(given, region_map(), INPUTS)
    assert costly_services(given, sections) == []
    monkeypatch.setattr(nftables, "COSTLY", 2)
    monkeypatch.setattr(nftables, "USUAL", 1)
    [problem] = costly_services(given, sections)
    assert str(problem).startswith(
        'policy.yaml:1:1: warning: service "api" takes 3 intervals on nftables, since neither'
    )
    assert "take 3 times as long as those of a list of ten countries; xdp would take no longer" in str(problem)
