# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from ipaddress import ip_address

import pytest

from geodrop.ruleset.explain import effective_mode, explain
from geodrop.ruleset.model import Input, Ruleset, ServiceSpec
from tests.unit.ruleset.test_model import META, pack, u16

API, WEB = META.services


@pytest.mark.parametrize(
    ("service", "now", "paused", "mode"),
    [
        (API, 0, False, "enforce"),
        (API, 0, True, "monitor"),
        (replace(API, starts=100), 99.9, False, "monitor"),
        (replace(API, starts=100), 100, False, "enforce"),
        (WEB, 1000, False, "monitor"),
    ],
)
def test_effective_mode(service: ServiceSpec, now: float, paused: bool, mode: str) -> None:  # noqa: FBT001
    """The mode is monitor if paused, before `starts`, or by `mode`; it is enforce from the second of `starts` on."""
    assert effective_mode(service, now, paused=paused) == mode


def test_would_drop_is_the_ladder_and_verdict_the_outcome() -> None:
    """While paused, the result of the ladder is the same, and the packet passes."""
    ruleset = Ruleset.unpack(pack(), "file")
    (api, web) = explain(ruleset, ip_address("1.2.3.4"), 0)
    assert (api.service, api.would_drop, api.verdict, api.region) == ("api", True, "drop", "CN")
    assert (web.service, web.would_drop, web.verdict) == ("web", False, "accept")
    (api, _) = explain(ruleset, ip_address("1.2.3.4"), 0, paused=True)
    assert (api.would_drop, api.verdict, api.mode) == (True, "accept", "monitor")
    assert (web.mode, web.starts) == ("monitor", None), "its mode is monitor, whatever it waits for"
    later = replace(META, services=(replace(API, starts=5), WEB))
    (api, _) = explain(Ruleset.unpack(pack(later), "file"), ip_address("1.2.3.4"), 0)
    assert (api.verdict, api.mode, api.starts) == ("accept", "monitor", "1970-01-01T00:00:05Z")


def test_embedded_address_is_judged_in_its_place() -> None:
    """A 6to4 address is explained by the zone of its embedded IPv4 address, and by the embedded row."""
    embedded = replace(META, rows=(*META.rows, replace(META.rows[0], verdict="embedded")))
    data = pack(
        embedded,
        ipv6__starts=bytes(16) + b"\x20\x02" + bytes(14),
        ipv6__zones=u16(0, 2),
        rows=u16(0, 0, 0, 0, 2, 2),
    )
    (api, _) = explain(Ruleset.unpack(data, "file"), ip_address("2002:102:304::1"), 0)
    assert (api.zone, api.embedded, api.verdict, api.region) == (2, "1.2.3.4", "drop", "CN")


def test_place() -> None:
    """`place` is the file and line of the policy that decide; None if no line does."""
    inputs = (Input("database", "x.mmdb", "0" * 64), Input("policy", "edge.yaml", "0" * 64))
    rows = (META.rows[0], replace(META.rows[1], at=38))
    ruleset = Ruleset.unpack(pack(replace(META, rows=rows, inputs=inputs)), "file")
    assert [one.place for one in explain(ruleset, ip_address("1.2.3.4"), 0)] == ["edge.yaml:38", None]
