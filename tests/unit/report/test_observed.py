# SPDX-License-Identifier: Apache-2.0
"""What `status` says of the packets it traces."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import pytest

from geodrop.engine.api import Interface, Total
from geodrop.report.observed import TRIES, observe
from tests.support.worlds import POLICY_CN, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from geodrop.dataplane.both import BothEngines
    from geodrop.engine.probes import Probe
    from geodrop.report.observed import Observation
    from geodrop.ruleset.model import Ruleset

INTERFACES = (Interface("eth0", "xdp", "native"), Interface("wan*", "nftables"))
LINKS = (("eth0",), ("wan0", "wan1"))


class Kernel:
    """A fake for both engines: it gives the prepared verdict for a packet on a link."""

    def __init__(self, says: Callable[[str, Probe], str]) -> None:
        self._says = says
        self.asked = 0

    def trace(self, probes: Sequence[Probe], on_nftables: Iterable[str]) -> dict[str, list[str]]:
        """Return the verdicts, as BothEngines.trace does."""
        self.asked += 1
        return {link: [self._says(link, probe) for probe in probes] for link in ("eth0", *on_nftables)}

    def counters(self) -> list[Total]:
        """Return totals of two families, with one packet and more."""
        return [
            Total("api", "ipv4", "CN", dropped=(3, 180), would_drop=(2, 120)),
            Total("api", "ipv6", None, accepted=(10, 600), never_drop=(1, 60)),
        ]


@pytest.fixture
def rules(tmp_path: Path) -> Ruleset:
    """Return a ruleset that drops CN."""
    return compiled(POLICY_CN, tmp_path)


def seen(rules: Ruleset | None, kernel: Kernel) -> Observation:
    """Observe three links."""
    return observe(cast("BothEngines", kernel), rules, INTERFACES, LINKS)


def test_all_as_it_should_be(rules: Ruleset) -> None:
    """There is a verdict for each service, link and source, and the number of packets judged."""
    kernel = Kernel(lambda _, probe: probe.expected)
    found = seen(rules, kernel)
    assert (found.problems, found.leaks, found.data["packets_judged"]) == ((), False, 16)
    assert len(found.data["probes"]) == 3 * 4
    assert {one["interface"] for one in found.data["probes"]} == {"eth0", "wan0", "wan1"}
    assert {one["verdict"] for one in found.data["probes"]} == {"drop", "accept"}
    assert found.data["without"] == []
    assert kernel.asked == 1


def test_a_link_on_which_denied_packets_pass(rules: Ruleset) -> None:
    """Such a link is a problem, reported once; the other links still drop, so not everything leaks."""
    found = seen(rules, Kernel(lambda link, probe: "accept" if link == "wan1" else probe.expected))
    [problem] = found.problems
    assert " to api on wan1: expected drop, found accept (1 more); next: " in problem
    assert not found.leaks


def test_no_denied_packet_is_dropped(rules: Ruleset) -> None:
    """It leaks if denied packets pass or their fate is unknown; blocking too much is no leak."""
    for kernel in (Kernel(lambda *_: "accept"), Kernel(lambda *_: "unknown")):
        assert seen(rules, kernel).leaks
    blocked = seen(rules, Kernel(lambda *_: "drop"))
    assert not blocked.leaks
    assert len(blocked.problems) == 3


def test_a_start_that_comes_meanwhile(rules: Ruleset) -> None:
    """A difference is tried once more before it is reported."""
    kernel = Kernel(lambda _, probe: probe.expected if kernel.asked == TRIES else "accept")
    assert seen(rules, kernel).problems == ()


def test_nothing_to_try(rules: Ruleset, tmp_path: Path) -> None:
    """Nothing in force, paused, or no denied source: no leak, and what was not probed is listed."""
    kernel = Kernel(lambda *_: "accept")
    assert observe(cast("BothEngines", kernel), rules, INTERFACES, ((), ())).data["probes"] == []
    assert seen(None, kernel).data["probes"] == []
    nobody = compiled("version: 1\nservices:\n  api: {default: allow, unknown: allow}\n", tmp_path)
    for view in (rules.paused(int(time.time()) + 60), nobody):
        found = seen(view, kernel)
        assert (found.problems, found.leaks) == ((), False)
        assert found.data["without"] == ["service api: no probe with the expected verdict drop"]
