# SPDX-License-Identifier: Apache-2.0
from ipaddress import ip_address

import pytest

from geodrop.compile import rows as module
from geodrop.compile.rows import build_rows
from geodrop.compile.zones import build_zones
from geodrop.errors import PolicyError
from geodrop.policy.ladder import build_ladder
from geodrop.policy.model import Policy, Verdict
from geodrop.ruleset.model import Row
from tests.unit.compile.worlds import policy, region_map, service


def row(given: Policy, address: str, *, service_number: int = 0, embedded: bool = False) -> Row:
    """Return the row that decides for an address."""
    ladders = [build_ladder(given, one) for one in given.services]
    zones = build_zones(given, ladders, region_map())
    rows = build_rows(given, ladders, zones)
    parsed = ip_address(address)
    zone = (zones.ipv4 if parsed.version == 4 else zones.ipv6).value_at(int(parsed))
    return rows.distinct[(rows.embedded if embedded else rows.wire)[zone][service_number]]


LADDER = policy(
    service(
        deny=["UA-43", "continent:NA", "20.1.0.0/16", "list:bad"],
        allow=["UA", "20.1.1.0/24"],
        default=Verdict.DROP,
        unknown=Verdict.DROP,
    ),
    never_drop=["20.2.0.0/16", "10.2.0.0/16"],
    bad=["10.3.0.0/16"],
)


@pytest.mark.parametrize(
    ("address", "verdict", "rung", "line"),
    [
        ("20.2.0.1", "accept", "never-drop", "never_drop: 20.2.0.0/16"),
        ("20.1.0.1", "drop", "prefix", "20.1.0.0/16"),
        ("20.1.1.1", "accept", "prefix", "20.1.1.0/24"),
        ("10.3.0.1", "drop", "prefix", "list:bad"),
        ("10.0.0.1", "accept", "special", "special"),
        ("30.1.0.1", "drop", "subdivision", "UA-43"),
        ("30.2.0.1", "accept", "country", "UA"),
        ("20.3.0.1", "drop", "continent", "continent:NA"),
        ("50.0.0.1", "drop", "unknown", "unknown: deny"),
        ("64:ff9b::1e01:1", "embedded", "", ""),
    ],
)
def test_each_rung(address: str, verdict: str, rung: str, line: str) -> None:
    """Every rung that a zone can end on gives its verdict and names its line."""
    found = row(LADDER, address)
    assert (found.verdict, found.rung, found.line) == (verdict, rung, line)


@pytest.mark.parametrize(
    ("address", "verdict", "rung"),
    [
        ("20.2.0.1", "drop", "continent"),
        ("10.2.0.1", "drop", "unknown"),
        ("10.0.0.1", "drop", "unknown"),
        ("10.3.0.1", "drop", "prefix"),
        ("30.2.0.1", "accept", "country"),
    ],
)
def test_embedded_addresses(address: str, verdict: str, rung: str) -> None:
    """For an embedded address never-drop does not apply and special counts as unknown; the rest is as on the wire."""
    found = row(LADDER, address, embedded=True)
    assert (found.verdict, found.rung) == (verdict, rung)


def test_services_are_judged_apart() -> None:
    """The same zone may have different verdicts for two services."""
    given = policy(service(deny=["UA"]), service("web", allow=["UA"], default=Verdict.DROP, port=80))
    assert row(given, "30.0.0.1").verdict == "drop"
    assert row(given, "30.0.0.1", service_number=1).verdict == "accept"


def test_too_many_counter_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy with too many counter classes is refused, and the message advises to use a list."""
    monkeypatch.setattr(module, "MAX_CLASSES", 2)
    with pytest.raises(PolicyError, match="move prefixes"):
        row(LADDER, "20.0.0.1")
