# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import pytest

from geodrop.engine.api import KernelVerdict
from geodrop.errors import NotEnforcingError
from geodrop.nftables.engine import NftablesEngine
from tests.support.rulesets import Service, ruleset

pytestmark = pytest.mark.usefixtures("netns")

DENIED = {
    "1.0.1.0/24": "CN",
    "1.0.2.0/24": "RU",
    "9.9.9.9/32": "never-drop else CN",
    "8.8.8.8/32": "never-drop",
    "10.0.0.0/8": "special else unknown",
    "224.0.0.0/3": "list:bad",
    "240e::/20": "CN",
    "2400::/128": "CN",
    "2a00::/16": "never-drop",
    "2002::/16": "6to4",
    "2001::/32": "teredo",
    "64:ff9b::/96": "nat64",
    "::ffff:0:0/96": "mapped",
}
RULES = ruleset(Service("api", DENIED, tcp=((443, 443),), established="keep"), Service("rest", {}))


def judged(address: str, engine: NftablesEngine | None = None) -> KernelVerdict:
    """Return the verdict of the first service."""
    [verdicts] = (engine or loaded()).judge(RULES, [address])
    assert [verdict.service for verdict in verdicts] == ["api", "rest"]
    assert verdicts[1] == KernelVerdict("rest", "accept", "no map")
    return verdicts[0]


def loaded() -> NftablesEngine:
    """Return an engine with the rules in force."""
    engine = NftablesEngine()
    if not engine.observe().generation:
        engine.apply(RULES, 1, ["eth0"])
    return engine


@pytest.mark.parametrize(
    ("address", "verdict", "target"),
    [
        ("1.0.0.255", "accept", ""),
        ("1.0.1.0", "drop", "g1-api.CN.ipv4"),
        ("1.0.1.255", "drop", "g1-api.CN.ipv4"),
        ("1.0.2.0", "drop", "g1-api.RU.ipv4"),
        ("1.0.3.0", "accept", ""),
        ("9.9.9.9", "accept", "g1-api.never-drop"),
        ("8.8.8.8", "accept", "g1-api.never-drop"),
        ("10.1.2.3", "accept", "g1-api.accepted"),
        ("255.255.255.255", "drop", "g1-api.list_bad.ipv4"),
        ("240e::1", "drop", "g1-api.CN.ipv6"),
        ("2400::", "drop", "g1-api.CN.ipv6"),
        ("2400::1", "accept", ""),
        ("2a00::1", "accept", "g1-api.never-drop"),
        ("2002:100:100::", "drop", "g1-api.CN.ipv6"),
        ("2002:100:300::", "accept", "g1-api.6to4"),
        ("2002:909:909::1", "drop", "g1-api.CN.ipv6"),
        ("2002:808:808::1", "accept", "g1-api.accepted"),
        ("2002:a01:203::1", "drop", "g1-api.unknown.ipv6"),
        ("2001:0:1:1:1:1:feff:feff", "drop", "g1-api.CN.ipv6"),
        ("64:ff9b::1.0.1.1", "drop", "g1-api.CN.ipv6"),
        ("::ffff:1.0.2.1", "drop", "g1-api.RU.ipv6"),
        ("::1", "accept", ""),
    ],
)
def test_judging(address: str, verdict: str, target: str) -> None:
    """Interval bounds, both ends of the families, and every embedding are judged right."""
    found = judged(address)
    assert (found.verdict, found.target) == (verdict, target)
    assert found.would_drop is (verdict == "drop")


def test_where() -> None:
    """The answer names the interval that was found and its map."""
    assert judged("1.0.1.7").where == "map g1-api.ipv4: 1.0.1.0-1.0.1.255"
    assert judged("9.9.9.9").where == "map g1-api.ipv4: 9.9.9.9"
    assert judged("255.0.0.0").where == "map g1-api.ipv4: 224.0.0.0-255.255.255.255"
    assert judged("1.0.3.0").where == "map g1-api.ipv4: no element"
    assert judged("2002:100:300::").where == (
        "map g1-api.ipv6: 2002::-2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff, then map g1-api.inside: no element"
    )


def test_monitor_and_starts() -> None:
    """What would be dropped is accepted in monitor, or before `starts` by the kernel's clock, which may have moved
    since the load.
    """
    now = 1_700_000_000.0
    rules = ruleset(
        Service("trial", {"1.0.1.0/24": "CN"}, mode="monitor"),
        Service("api", {"1.0.1.0/24": "CN"}, tcp=((443, 443),), starts=1_700_000_060),
    )
    NftablesEngine(lambda: now).apply(rules, 1, ["eth0"])
    for moment, verdict in ((now, "accept"), (now + 59, "accept"), (now + 61, "drop")):
        clock = itertools.repeat(moment).__next__
        [[trial, api]] = NftablesEngine(clock).judge(rules, ["1.0.1.1"])
        assert (trial.verdict, trial.would_drop) == ("accept", True)
        assert (api.verdict, api.would_drop) == (verdict, True)


def test_many_addresses() -> None:
    """Answers come in the order asked; a repeated address is answered again."""
    verdicts = loaded().judge(RULES, ["1.0.1.1", "1.0.0.1", "1.0.1.1"])
    assert [api.verdict for api, _ in verdicts] == ["drop", "accept", "drop"]


def test_nothing_in_force() -> None:
    """Without rules in force there is nothing to look up."""
    with pytest.raises(NotEnforcingError, match="nothing is in force"):
        NftablesEngine().judge(RULES, ["192.0.2.1"])
