# SPDX-License-Identifier: Apache-2.0
"""The background audit: an address of every denied region is looked up, and differences are handed on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Config
from geodrop.daemon.audit import PARTS, Audit
from geodrop.daemon.watch.watch import Watch
from geodrop.engine.api import Difference
from geodrop.nftables.engine import NftablesEngine
from geodrop.operations.load import load
from tests.support.daemons import daemon_context
from tests.support.worlds import POLICY_US, packed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.daemon.conftest import Host
    from tests.support.namespaces import Namespace


@pytest.fixture
def config(netns: Namespace, tmp_path: Path) -> Config:
    """Put a ruleset in force that denies two regions."""
    del netns
    file = tmp_path / "us.ruleset"
    file.write_bytes(packed(POLICY_US, tmp_path))
    made = Config(engine="nftables", interfaces=("lo",), state=tmp_path / "state")
    load(str(file), made, "nftables", ())
    return made


def audited(config: Config, *numbers: int) -> list[Difference]:
    """Return what a daemon's audits find in these minutes."""

    async def body() -> list[Difference]:
        context = daemon_context(config)
        watch = Watch(context, lambda: None)
        watch.events.open()
        try:
            for number in numbers:
                await Audit(context, watch).once(number)
            return (await watch.events.wait()).found
        finally:
            watch.events.close()

    return asyncio.run(body())


def test_all_is_well(config: Config) -> None:
    """An audit of a whole hour finds no difference."""
    began = time.monotonic()
    assert audited(config, *range(PARTS)) == []
    assert time.monotonic() - began < 60


def test_a_region_that_is_let_through(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong verdict for one region in one family is found within a minute."""
    judge = NftablesEngine.judge

    def wrong(self: NftablesEngine, ruleset: object, addresses: list[str]) -> object:
        answers = judge(self, ruleset, addresses)  # type: ignore[arg-type]
        return [
            [replace(one, would_drop=False) for one in verdicts] if address.startswith("2a02") else verdicts
            for address, verdicts in zip(addresses, answers, strict=True)
        ]

    monkeypatch.setattr(NftablesEngine, "judge", wrong)
    [difference] = audited(config, 0)
    assert difference.where == "2a02:: for service api"
    assert difference.expected == "drop"


def test_data_that_differs(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The differing element is read, and found, in one of the minutes of an hour."""
    found = Difference("map m", "this", "that")

    def share(_: object, ruleset: object, part: int, of: int, undo: object) -> list[Difference]:
        del ruleset, undo
        return [found] if (part, of) == (7, PARTS) else []

    monkeypatch.setattr(NftablesEngine, "verify_share", share)
    assert audited(config, *range(7)) == []
    assert audited(config, 7) == [found]


def test_nothing_in_force(netns: Namespace, tmp_path: Path) -> None:
    """Nothing is reported if nothing should be in force."""
    del netns
    assert audited(Config(state=tmp_path), 0) == []


def test_old_databases(host: Host) -> None:
    """Status reports it, with the daemon or without; the policy sets the age."""
    policy = host.folder / "policy.yaml"
    policy.write_text(policy.read_text() + "limits: {database_age: 1h}\n")
    ruleset = host.geodrop.compile(policy.read_text(), host.folder / "country.mmdb", name="old")
    host.geodrop.good("load", str(ruleset))
    status = host.geodrop.run("status", "--json")
    assert status.code == 1
    assert any("country.mmdb was built" in problem for problem in status.json["problems"])
