# SPDX-License-Identifier: Apache-2.0
"""Flowtables as the kernel describes them. Without nf_flow_table the kernel has none, and none are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane.both import BothEngines
from geodrop.dataplane.coverage import read_coverage
from geodrop.doctor.nftables import beside_us
from geodrop.engine.api import Interface
from geodrop.nftables import flowtables
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.flowtables import Bypass

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace

TABLES = """
table inet fw { flowtable fast { hook ingress priority 0; devices = { eth0, far0 }; }; }
table ip router { flowtable f { hook ingress priority -5; devices = { eth0 }; }; }
"""


def make(netns: Namespace) -> str:
    """Make flowtables; return the kernel's reason if it cannot."""
    try:
        netns.nft(TABLES)
    except RuntimeError as error:
        return str(error)
    return ""


def test_read(netns: Namespace) -> None:
    """Flowtables of every family are read; status reports a problem where nftables judges, doctor a note for each."""
    assert flowtables.read() == []
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    if refused := make(netns):
        assert "No such file or directory" in refused
        assert flowtables.read() == []
        return
    found = {str(one): set(one.interfaces) for one in flowtables.read()}
    assert found == {
        "flowtable fast of table inet fw": {"eth0", "far0"},
        "flowtable f of table ip router": {"eth0"},
    }
    problems = read_coverage(("eth0",), BothEngines(NftablesEngine(), None), [Interface("eth0", "nftables")]).problems
    assert [problem.partition(" takes ")[0] for problem in problems] == list(found)
    assert read_coverage(("eth0",), BothEngines(NftablesEngine(), None), [Interface("eth0", "xdp")]).problems == ()
    assert len(list(beside_us())) == 2


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_problems(netns: Namespace, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """XDP comes before a flowtable, nftables after it; the problem names the table and what to do."""
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    bypasses = [Bypass("inet", "fw", "fast", ("eth0", "lan*")), Bypass("ip", "other", "f", ("far0",))]
    monkeypatch.setattr(flowtables, "read", lambda: bypasses)
    problems = read_coverage(("eth0",), BothEngines(NftablesEngine(), None), [Interface("eth0", engine)]).problems
    assert len(problems) == (engine == "nftables")
    for problem in problems:
        assert problem.startswith(
            "flowtable fast of table inet fw takes forwarded packets of open connections from eth0"
        )
        assert problem.endswith("conntrack -D -s PREFIX")
