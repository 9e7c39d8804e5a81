"""A look: nothing where nothing happened, one repair where something did, and never a wrong state taken for right."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.dataplane.engine import Difference
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.load import load, unload, what_is_loaded
from geodrop.dataplane.nftables import observe
from geodrop.dataplane.nftables.engine import NftablesEngine
from geodrop.dataplane.nftables.netlink import Connection
from geodrop.dataplane.repair import Known, check_share, look
from geodrop.errors import DataError
from geodrop.state.history import Asked
from geodrop.state.store import Store
from tests.namespaces import Namespace
from tests.worlds import POLICY_CN, packed

ASKED = Asked("repair", 0, why="nft (process 5)")


@pytest.fixture
def config(netns: Namespace, tmp_path: Path) -> Config:
    """Where a ruleset is in force on every eth."""
    del netns
    file = tmp_path / "cn.ruleset"
    file.write_bytes(packed(POLICY_CN, tmp_path))
    made = Config(engine="nftables", interfaces=("eth*",), state=tmp_path / "state")
    load(str(file), made, "nftables", ())
    return made


def origins(config: Config) -> list[str]:
    """The history."""
    return [entry.origin for entry in Store(config.state).history.entries()]


def test_a_look_at_what_is_right(config: Config, netns: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """The first one verifies, further ones only compare what the kernel says; changes of others are none."""
    first = look(config, Known(), ASKED)
    assert (first.differences, first.covered) == ((), False)
    netns.nft("table ip theirs { chain c { type filter hook input priority 0; accept; }\n }\n")
    netns.nft("table inet theirs { map m { type ipv4_addr : verdict; }\n }\n")
    began = time.perf_counter()
    second = look(config, first.known, ASKED)
    took = time.perf_counter() - began
    assert second.known is first.known
    assert origins(config) == ["load"]
    with capsys.disabled():
        print(f"\na look at what nobody changed: {took * 1e3:.1f} ms")


def test_as_empty_as_before_is_not_right_after_a_load(config: Config, netns: Namespace, tmp_path: Path) -> None:
    """Unloaded, loaded and flushed between two looks: the kernel says what it said, and that is drift now."""
    unload(config)
    known = look(config, Known(), ASKED).known
    assert known.observed.generation == 0
    load(str(tmp_path / "cn.ruleset"), config, "nftables", ())
    netns.run("nft", "flush", "ruleset")
    seen = look(config, known, ASKED)
    assert seen.differences
    assert seen.known.observed.generation == 3


def test_what_is_gone_is_loaded_again(config: Config, netns: Namespace) -> None:
    """A new generation, with what differed and who it was in the history; or without, if it is to say nothing."""
    known = look(config, Known(), ASKED).known
    netns.run("nft", "flush", "ruleset")
    seen = look(config, known, ASKED)
    assert [one.found for one in seen.differences] == ["nothing in force"]
    assert seen.known.observed.generation == 2
    assert look(config, seen.known, ASKED).differences == ()
    entry = Store(config.state).history.entries()[-1]
    assert (entry.origin, entry.generation, entry.why) == ("repair", 2, "nft (process 5)")
    assert "nothing in force" in entry.change
    netns.run("nft", "insert", "rule", "inet", "geodrop", "prerouting", "accept")
    assert look(config, seen.known, None).known.observed.generation == 3
    assert origins(config) == ["load", "repair"]


def test_where_packets_are_judged_is_set_again(config: Config, netns: Namespace) -> None:
    """Somebody took one of two interfaces out of the hook: both are judged again."""
    both = Config(engine="nftables", interfaces=("eth*", "wan*"), state=config.state)
    known = look(both, Known(), ASKED, links_changed=True).known
    assert [one.name for one in known.observed.interfaces] == ["eth*", "wan*"]
    rules = netns.run("nft", "-a", "list", "chain", "inet", "geodrop", "prerouting")
    [handle] = [line.split()[-1] for line in rules.splitlines() if '"wan' in line]
    netns.run("nft", "delete", "rule", "inet", "geodrop", "prerouting", "handle", handle)
    seen = look(both, known, ASKED)
    assert seen.differences[0].where.startswith("chain prerouting")
    assert seen.known.observed.interfaces == known.observed.interfaces


def test_what_was_unloaded_stays_away(config: Config, netns: Namespace) -> None:
    """Nothing is brought back."""
    store = Store(config.state)
    Engines.here().remove()
    store.remember(replace(store.intent(), unloaded=True))
    assert look(config, Known(), ASKED).known.observed.generation == 0
    assert "geodrop" not in netns.run("nft", "list", "ruleset")


def test_a_flush_while_it_looks(config: Config, netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever flushes after the table was verified, and before the look ends, does not make an empty table right."""
    verify = NftablesEngine.verify
    flushes = iter([True])

    def verified(self: NftablesEngine, *arguments: object, **options: object) -> list[Difference]:
        found = verify(self, *arguments, **options)  # type: ignore[arg-type]
        if next(flushes, False):
            netns.run("nft", "flush", "ruleset")
        return found

    monkeypatch.setattr(NftablesEngine, "verify", verified)
    seen = look(config, Known(), ASKED)
    assert look(config, seen.known, ASKED).known.observed.generation == 2
    assert what_is_loaded(config)[1].generation == 2


def test_what_an_audit_found(config: Config) -> None:
    """Data that differs shows in no structure: what was found is held against all of it, and loaded again if so."""
    found = [Difference("map m", "one thing", "another")]
    seen = look(config, look(config, Known(), ASKED).known, ASKED, found=found)
    # Here the audit was wrong: all of it was read, and nothing had to be loaded.
    assert seen.known.observed.generation == 1
    assert list(seen.differences) == found


def test_a_ruleset_that_is_not_kept(config: Config, netns: Namespace) -> None:
    """There is nothing to repair from: said, and all left as it is."""
    for path in (config.state / "rulesets").iterdir():
        path.unlink()
    netns.run("nft", "flush", "ruleset")
    with pytest.raises(DataError):
        look(config, Known(), ASKED)


def test_every_part_of_the_data_is_read(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """All maps in all parts together, each once; a part that differs says so."""
    read: list[str] = []
    assert [one for part in range(60) for one in check_share(config, part, 60)] == []
    _, _, ruleset = what_is_loaded(config)
    original = observe.dump_elements

    def dumped(connection: Connection, name: str) -> list[memoryview]:
        elements = original(connection, name)
        if name.startswith("__set"):  # one inside a rule
            return elements
        read.append(name)
        return []

    monkeypatch.setattr(observe, "dump_elements", dumped)
    differences = [one for part in range(60) for one in NftablesEngine().verify_share(ruleset, part, 60)]
    assert sorted(read) == sorted(set(read))
    assert len(read) == 3
    assert {one.where.split(",")[0] for one in differences} == {f"map {name}" for name in read}
