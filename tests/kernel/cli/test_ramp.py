# SPDX-License-Identifier: Apache-2.0
"""A share through the real command line, on each engine: what is loaded, read back, explained and reported."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from tests.oracle.ramp import BUCKETS, bucket
from tests.support.bpffs import own_mounts
from tests.support.cli import Geodrop
from tests.support.worlds import POLICY_CN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.cli.conftest import Host

DATABASE = "country.mmdb"


@pytest.fixture
def host(host: Host) -> Iterator[Host]:
    """Return a host with an interface that can pin XDP programs, in a bpffs of its own."""
    with own_mounts() as entering:
        host.netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
        for name in ("eth0", "far0"):
            host.netns.run("ip", "link", "set", name, "up")
        yield dataclasses.replace(host, geodrop=Geodrop(host.geodrop.folder, host.netns, entering))


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_a_share(host: Host, engine: str) -> None:
    """The kernel's tables drop the sources that the oracle names, also a pause later; status has the share."""
    geodrop = host.geodrop
    ramp = "    ramp: {2020-01-01T00:00:00Z: 50%, 2099-01-01T00:00:00Z: 100%}\n"
    ruleset = geodrop.compile(POLICY_CN + ramp, geodrop.folder / DATABASE, name="ramp")
    load = ("load", "--engine", engine, "--interface", "eth0")
    geodrop.good(*load, host.cn)
    said = geodrop.good(*load, str(ruleset))
    assert said.out.startswith("generation 1 -> 2")
    geodrop.good("pause")
    geodrop.good("resume")
    addresses = [f"2400:0:{number:x}::1" for number in range(40)] + ["1.0.0.1"]
    answers = geodrop.good("explain", "--json", *addresses).json_lines
    for one in answers:
        dropped = bucket("api", one["address"]) < BUCKETS // 2
        assert (one["verdict"], one["would_drop"]) == ("drop" if dropped else "accept", True), one
        assert one["kernel"]["verdict"] == one["verdict"], one
        assert one["dropped_from"] == (None if dropped else "2099-01-01T00:00:00Z")
    status = geodrop.good("status", "--json").json
    [service] = status["services"]
    assert (service["share"], service["effective"], status["problems"]) == (0.5, "enforce", [])
    assert service["ramp"]["next"] == {"from": "2099-01-01T00:00:00Z", "share": 1.0}
    assert geodrop.good("verify", "--full").code == 0
    geodrop.good("unload")
