# SPDX-License-Identifier: Apache-2.0
import time
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.dataplane.both import BothEngines
from geodrop.errors import DataError, NotEnforcingError
from geodrop.operations.follow_interfaces import follow_interfaces
from geodrop.operations.load import load
from geodrop.ruleset.model import Ruleset
from geodrop.state.store import Store
from geodrop.state.unconfirmed import Unconfirmed
from tests.support.namespaces import Namespace
from tests.unit.ruleset.test_model import META, pack


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration whose pattern matches only present interfaces, so that each arrival or removal is a
    change.
    """
    return Config(engine="nftables", interfaces=("eth[0-9]",), state=tmp_path / "state")


def add(netns: Namespace, name: str) -> None:
    """Add an interface."""
    netns.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"far{name}")


def names() -> list[str]:
    """Return the interfaces where packets are judged."""
    return [interface.name for interface in BothEngines.here().observe().interfaces]


def test_interfaces_come_and_go(
    netns: Namespace, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The generation stays and nothing is filled; the rule of the last interface stays when it goes."""
    file = tmp_path / "a.ruleset"
    file.write_bytes(pack(META))
    with pytest.raises(NotEnforcingError):
        follow_interfaces(config)
    add(netns, "eth0")
    load(str(file), config, "nftables", ())
    maps = netns.run("nft", "-a", "list", "maps")
    add(netns, "eth1")
    started = time.perf_counter()
    covered = follow_interfaces(config)
    took = time.perf_counter() - started
    assert covered.changed
    assert names() == ["eth0", "eth1"]
    assert covered.after.generation == 1
    assert netns.run("nft", "-a", "list", "maps") == maps
    assert BothEngines.here().verify(Ruleset.open(file)) == []
    assert not follow_interfaces(config).changed
    netns.run("ip", "link", "delete", "eth0")
    assert [interface.name for interface in follow_interfaces(config).after.interfaces] == ["eth1"]
    netns.run("ip", "link", "delete", "eth1")
    assert not follow_interfaces(config).changed
    assert names() == ["eth1"]
    assert Store(config.state).intent().generation == 1
    assert len(Store(config.state).history.entries()) == 1
    with capsys.disabled():
        print(f"\nan interface that arrives is judged after {took * 1e3:.0f} ms")


def test_only_what_was_accepted_follows(netns: Namespace, config: Config, tmp_path: Path) -> None:
    """Where signatures are demanded, what an altered intent calls a load on trial is judged on no interface."""
    files = [tmp_path / "a.ruleset", tmp_path / "b.ruleset"]
    for number, path in enumerate(files):
        path.write_bytes(pack(replace(META, compiler=str(number))))
    add(netns, "eth0")
    load(str(files[0]), config, "nftables", ())
    demanding, store = replace(config, keys="KEYS"), Store(config.state)
    add(netns, "eth1")
    assert follow_interfaces(demanding).changed
    evil = Ruleset.open(files[1])
    store.keep(evil.file)
    intent = store.intent()
    trial = Unconfirmed(previous=intent.generation, digest=intent.digest)
    store.remember(replace(intent, digest=evil.digest, confirm=trial))
    add(netns, "eth2")
    with pytest.raises(DataError, match="was never accepted on this host"):
        follow_interfaces(demanding)
    assert names() == ["eth0", "eth1"]
