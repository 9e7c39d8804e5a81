# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address

from geodrop.report.exempt import as_object, described, exemption_of
from geodrop.state.exemptions import SECOND, ClockReading, Exemption

NOW = ClockReading(1_800_000_000.0, 100 * SECOND, "one")
ONE = Exemption("81.2.69.142/32", 1_800_000_000, 1_800_007_200, "one", 7_300 * SECOND, "alice", "CASE-7")
AROUND = Exemption("81.2.69.0/24", 1_800_000_000, 1_800_000_060, "one", 160 * SECOND)


def test_an_exemption_in_force() -> None:
    """Its object has who, why, until when, and what has passed because of it."""
    assert as_object(ONE, NOW, (1_204, 80_000)) == {
        "schema": 1,
        "source": "81.2.69.142/32",
        "created": "2027-01-15T08:00:00Z",
        "until": "2027-01-15T10:00:00Z",
        "seconds": 7_200.0,
        "in_force": True,
        "held_back": False,
        "packets": 1_204,
        "bytes": 80_000,
        "user": "alice",
        "why": "CASE-7",
    }


def test_one_that_is_not() -> None:
    """Held back by a wrong clock, or missing in the kernel."""
    found = as_object(ONE, ClockReading(5.0, 1, "two"), None)
    assert (found["in_force"], found["held_back"], found["seconds"], found["packets"]) == (False, True, 0.0, 0)
    assert as_object(ONE, NOW, None)["held_back"] is False


def test_which_one_holds_an_address() -> None:
    """The one that lasts longest; none that is over."""
    both = [AROUND, ONE]
    assert exemption_of(both, ip_address("81.2.69.142"), NOW) is ONE
    assert exemption_of(both, ip_address("81.2.69.1"), NOW) is AROUND
    assert exemption_of(both, ip_address("2400::1"), NOW) is None
    over = ClockReading(NOW.wall, 200 * SECOND, "one")
    assert exemption_of(both, ip_address("81.2.69.1"), over) is None
    assert described(ONE, NOW) == {"source": "81.2.69.142", "until": "10:00:00Z", "user": "alice", "why": "CASE-7"}
