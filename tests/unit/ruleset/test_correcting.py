# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from ipaddress import ip_address

import pytest

from geodrop.ruleset.correcting import correction_at, correction_json, corrections_about
from geodrop.ruleset.model import CompiledCorrection
from geodrop.ruleset.region_question import parse_region
from tests.unit.ruleset.test_model import META

WIDE = CompiledCorrection("1.0.0.0/16", "DE", ("CN", "US"), 9)
NARROW = CompiledCorrection("1.0.1.0/24", "US", ("US",), 10)
IPV6 = CompiledCorrection("2a00::/32", "CN", ("unknown",), 11)
KNOWN = replace(META, corrections=(WIDE, NARROW, IPV6))


@pytest.mark.parametrize(
    ("address", "correction"),
    [("1.0.1.7", NARROW), ("1.0.2.7", WIDE), ("1.1.0.0", None), ("2a00::1", IPV6), ("::1.0.1.7", None)],
)
def test_the_longest_correction_decides(address: str, correction: CompiledCorrection | None) -> None:
    """As when the policy is compiled: the longest prefix, of the family of the address."""
    assert correction_at(KNOWN, ip_address(address)) is correction
    assert correction_at(META, ip_address(address)) is None


@pytest.mark.parametrize(
    ("text", "corrections"),
    [
        ("CN", [WIDE, IPV6]),
        ("DE", [WIDE]),
        ("US", [WIDE]),
        ("FR", []),
        ("unknown", [IPV6]),
        ("continent:AS", [WIDE, IPV6]),
    ],
)
def test_what_moves_into_a_region_or_out_of_it(text: str, corrections: list[CompiledCorrection]) -> None:
    """A correction to the country that the databases say anyway moves nothing."""
    asked = parse_region(text, KNOWN)
    assert asked
    assert corrections_about(KNOWN, asked) == corrections


def test_as_json() -> None:
    """A correction has its place in the policy, if that is known."""
    assert correction_json(KNOWN, WIDE) == {
        "prefix": "1.0.0.0/16",
        "country": "DE",
        "was": ["CN", "US"],
        "place": "policy.yaml:9",
    }
    assert correction_json(KNOWN, replace(WIDE, at=0))["place"] is None
