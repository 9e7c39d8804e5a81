# SPDX-License-Identifier: Apache-2.0
"""A thousand switches under a million packets a second: one of two whole policies judges every packet."""

from __future__ import annotations

import contextlib
import json
import os
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench.generator import Flood, Generator, received
from tests.support.databases import country
from tests.support.engines import XdpEngine
from tests.support.worlds import POLICY_CN, POLICY_US, WORLD, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import End, Namespace

pytestmark = [pytest.mark.root, pytest.mark.slow]

# Replacing tables waits for the kernel's grace periods, which the flood makes long.
SWITCHES = {"the same tables": 1_000, "other tables": 50}

# Each interface gets packets of one country, so the result for each is known, whatever the two ends lose between them.
# Most are of the country that both policies drop: packets that pass cost the kernel much more.
CHINA, AMERICA, RUSSIA = "eth0", "eth1", "eth2"
SOURCES = {
    CHINA: (["1.1.1.1", "1.2.3.4"], ["2400::1", "2002:101:101::1"]),
    AMERICA: (["2.2.2.2"], ["2600::1", "2002:202:202::1"]),
    RUSSIA: (["5.5.5.5"], ["2a02::1", "2002:505:505::1"]),
}
FRAMES = {CHINA: 1_200_000, AMERICA: 10_000, RUSSIA: 20_000}  # at a time: a start takes the kernel a grace period
CHAIN = """
table netdev passed {{
  counter {0} {{ }}
  chain {0} {{
    type filter hook ingress device {0} priority 0; policy drop
    counter name {0}
  }}
}}
"""


@contextlib.contextmanager
def generators(pairs: list[tuple[End, End]]) -> Iterator[list[tuple[Generator, int]]]:
    """Yield a generator for each interface and family, with the number of frames it sends in its turn."""
    with contextlib.ExitStack() as stack:
        made = []
        for pair in pairs:
            for sources in SOURCES[pair[1].name]:
                generator = Generator(*pair, [ip_address(source) for source in sources], 443)
                stack.callback(generator.close)
                made.append((generator, FRAMES[pair[1].name]))
        yield made


def passed(host: Namespace) -> dict[str, int]:
    """Return the packets that passed the program, by interface; where they are counted they are also dropped."""
    listed = json.loads(host.run("nft", "--json", "list", "counters", "table", "netdev", "passed"))["nftables"]
    return {item["counter"]["name"]: item["counter"]["packets"] for item in listed if "counter" in item}


def settled(pairs: list[tuple[End, End]]) -> dict[str, int]:
    """Return the packets that arrived, by interface, once all that were sent have: redirection takes a moment."""
    while True:
        before = {pair[1].name: received(pair[1]) for pair in pairs}
        time.sleep(0.2)
        if before == {pair[1].name: received(pair[1]) for pair in pairs}:
            return before


@pytest.mark.parametrize("tables", SWITCHES)
def test_a_thousand_switches(three_pairs: list[tuple[End, End]], pins: Pins, tmp_path: Path, tables: str) -> None:
    """No packet of China passes and none of America is dropped, on three interfaces and in both families.

    The policies differ about Russia: each of its packets either passes or is counted as dropped.
    """
    other = WORLD if tables == "the same tables" else {**WORLD, "7.0.0.0/8": country("FR"), "2a03::/16": country("FR")}
    rulesets = [compiled(POLICY_CN, tmp_path), compiled(POLICY_US, tmp_path, other)]
    host = three_pairs[0][1].namespace
    # Without neighbour discovery, only packets sent by this test arrive.
    for end in three_pairs[0]:
        with end.namespace.entered():
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1", encoding="ascii")
    host.nft("".join(CHAIN.format(name) for name in SOURCES))
    processors = sorted(os.sched_getaffinity(0))
    with generators(three_pairs) as turns, host.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, list(SOURCES))
        before = settled(three_pairs), passed(host)
        with Flood(turns, processors[-1] if len(processors) > 1 else None) as flood:
            for generation in range(2, SWITCHES[tables] + 2):
                engine.apply(rulesets[(generation + 1) % 2], generation, list(SOURCES))
        came, through = settled(three_pairs), passed(host)
        came = {name: count - before[0][name] for name, count in came.items()}
        through = {name: count - before[1][name] for name, count in through.items()}
        counts = [(one.label, one.dropped[0], one.accepted[0], one.would_drop[0]) for one in engine.counters()]
        assert engine.verify(rulesets[SWITCHES[tables] % 2]) == []
        engine.remove()
    print(f"{flood.sent:,} packets in {flood.seconds:.1f} s: {flood.sent / flood.seconds:,.0f} a second, {came=}")
    assert min(came.values()) > 1_000
    assert through[CHINA] == 0, "leaked"
    assert through[AMERICA] == came[AMERICA], "wrongly dropped"
    if tables == "the same tables":  # with few switches, all of Russia's turns may fall to one policy
        assert 0 < through[RUSSIA] < came[RUSSIA], "one of the policies was never in force"
    # What the program counted is what was seen behind it.
    assert sum(dropped for _, dropped, _, _ in counts) == sum(came.values()) - sum(through.values())
    assert sum(accepted for _, _, accepted, _ in counts) == sum(through.values())
    assert {label: dropped for label, dropped, _, _ in counts if label == "CN"}.keys() == {"CN"}
    assert sum(dropped for label, dropped, _, _ in counts if label == "CN") == came[CHINA]
    assert sum(dropped for label, dropped, _, _ in counts if label == "RU") == came[RUSSIA] - through[RUSSIA]
