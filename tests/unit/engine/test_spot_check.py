# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from ipaddress import ip_address
from typing import cast

import pytest

from geodrop.engine.api import Engine, KernelVerdict
from geodrop.engine.spot_check import boundaries, spot_check
from geodrop.ruleset.explain import explain
from geodrop.ruleset.model import Ruleset
from tests.unit.ruleset.test_model import META, pack


class Kernel:
    """A kernel that answers as the ruleset says, but wrongly for one address."""

    def __init__(self, ruleset: Ruleset, wrong: str) -> None:
        self.ruleset, self.wrong = ruleset, wrong

    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Implements engine.api.Engine.judge."""
        return [
            [
                KernelVerdict(one.service, one.verdict, "map m", would_drop=one.would_drop != (address == self.wrong))
                for one in explain(ruleset, ip_address(address), 0)
            ]
            for address in addresses
        ]


@pytest.mark.parametrize(
    ("wrong", "found"), [("none", set()), ("1.0.0.0", {"1.0.0.0"}), ("1.255.255.255", {"1.255.255.255"})]
)
def test_wrong_answers_are_found(wrong: str, found: set[str]) -> None:
    """If the kernel is wrong on one side of a boundary, there is a difference that names the address."""
    ruleset = Ruleset.unpack(pack(META), "file")
    differences = spot_check(ruleset, cast("Engine", Kernel(ruleset, wrong)), 200)
    assert {difference.where.split()[0] for difference in differences} == found


def test_boundaries_are_starts_and_the_addresses_before() -> None:
    """Both families have boundaries, never below address 0."""
    ruleset = Ruleset.unpack(pack(META), "file")
    ipv4, ipv6 = ({str(address) for address in boundaries(ruleset, family, 300)} for family in (4, 6))
    assert ipv4 == {str(ip_address(0)), "0.255.255.255", "1.0.0.0", "1.255.255.255", "2.0.0.0"}
    assert ipv6 == {"::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"}
