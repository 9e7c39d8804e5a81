# SPDX-License-Identifier: Apache-2.0
"""An inspection: no repair without a change, one repair for a change, and a wrong state never counts as right."""

import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geodrop.config import Config
from geodrop.dataplane.both import BothEngines
from geodrop.engine.api import Difference
from geodrop.errors import DataError
from geodrop.nftables import readback
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.model import Snapshot
from geodrop.nftables.netlink.connection import Connection
from geodrop.operations.boot import boot
from geodrop.operations.change import OpenChange, by_me
from geodrop.operations.compact import compact
from geodrop.operations.load import apply_file, load, unload, what_is_loaded
from geodrop.operations.repair import Baseline, check_share, inspect
from geodrop.state.entry import ChangeRequest
from geodrop.state.store import Store
from tests.support.databases import country
from tests.support.namespaces import Namespace
from tests.support.worlds import HEAD, POLICY_CN, WORLD, packed

ASKED = ChangeRequest("repair", 0, why="nft (process 5)")

MANY = WORLD | {f"1{high}.{low}.0.0/24": country("CN") for high in range(10) for low in range(0, 250, 2)}
"""Enough data that one more country is a small change."""
POLICY_MORE = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN, RU]\n"


@pytest.fixture
def config(netns: Namespace, tmp_path: Path) -> Config:
    """Put a ruleset in force on every eth interface."""
    del netns
    file = tmp_path / "cn.ruleset"
    file.write_bytes(packed(POLICY_CN, tmp_path))
    made = Config(engine="nftables", interfaces=("eth*",), state=tmp_path / "state")
    load(str(file), made, "nftables", ())
    return made


def origins(config: Config) -> list[str]:
    """Return the origins in the history."""
    return [entry.origin for entry in Store(config.state).history.entries()]


def test_a_look_at_what_is_right(config: Config, netns: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    """The first inspection verifies, further ones only compare dumps; changes outside our table do not count."""
    first = inspect(config, Baseline(), ASKED)
    assert (first.differences, first.interfaces_changed) == ((), False)
    netns.nft("table ip theirs { chain c { type filter hook input priority 0; accept; }\n }\n")
    netns.nft("table inet theirs { map m { type ipv4_addr : verdict; }\n }\n")
    began = time.perf_counter()
    second = inspect(config, first.known, ASKED)
    took = time.perf_counter() - began
    assert second.known is first.known
    assert origins(config) == ["load"]
    with capsys.disabled():
        print(f"\nan inspection without a change: {took * 1e3:.1f} ms")


def test_as_empty_as_before_is_not_right_after_a_load(config: Config, netns: Namespace, tmp_path: Path) -> None:
    """Unloaded, loaded and flushed between two inspections: the dump is as empty as before, but now that is drift."""
    unload(config)
    known = inspect(config, Baseline(), ASKED).known
    assert known.observed.generation == 0
    load(str(tmp_path / "cn.ruleset"), config, "nftables", ())
    netns.run("nft", "flush", "ruleset")
    seen = inspect(config, known, ASKED)
    assert seen.differences
    assert seen.known.observed.generation == 3


def test_what_is_gone_is_loaded_again(config: Config, netns: Namespace) -> None:
    """What is gone is loaded as a new generation; the history says what differed and who did it, unless told not to."""
    known = inspect(config, Baseline(), ASKED).known
    netns.run("nft", "flush", "ruleset")
    seen = inspect(config, known, ASKED)
    assert [one.found for one in seen.differences] == ["nothing in force"]
    assert seen.known.observed.generation == 2
    assert inspect(config, seen.known, ASKED).differences == ()
    entry = Store(config.state).history.entries()[-1]
    assert (entry.origin, entry.generation, entry.why) == ("repair", 2, "nft (process 5)")
    assert "nothing in force" in entry.change
    netns.run("nft", "insert", "rule", "inet", "geodrop", "prerouting", "accept")
    assert inspect(config, seen.known, None).known.observed.generation == 3
    assert origins(config) == ["load", "repair"]


SURPLUS = {
    "chain": "add chain inet geodrop theirs",
    "chain named like ours": "add chain inet geodrop g1-theirs",
    "hook": "add chain inet geodrop theirs { type filter hook input priority 0; policy drop; }",
    "rules": "add chain inet geodrop theirs\nadd rule inet geodrop theirs ip saddr { 192.0.2.1, 192.0.2.7 } accept",
    "set": "add set inet geodrop theirs { type ipv4_addr; }",
    "set in use": "add set inet geodrop theirs { type ipv4_addr; }\nadd chain inet geodrop one\n"
    "add rule inet geodrop one ip saddr @theirs accept",
    "map": "add map inet geodrop theirs { type ipv4_addr : verdict; }",
    "map to a chain": "add chain inet geodrop one\nadd map inet geodrop theirs { type ipv4_addr : verdict; "
    "elements = { 192.0.2.1 : goto one }; }",
    "counter": "add counter inet geodrop theirs",
    "quota": "add quota inet geodrop theirs { over 1 mbytes; }",
    "limit in use": "add limit inet geodrop theirs { rate 1/second; }\nadd chain inet geodrop one\n"
    'add rule inet geodrop one limit name "theirs" drop',
}
IN_OURS = {
    "rule in our hook": "insert rule inet geodrop prerouting accept",
    "rule in a chain": "insert rule inet geodrop g1 accept",
    "rule with a set": "add set inet geodrop theirs { type ipv4_addr; }\n"
    "insert rule inet geodrop g1 ip saddr @theirs accept",
    "rule to a chain": "add chain inet geodrop theirs\ninsert rule inet geodrop g1 jump theirs",
}
"""What another program may put into our table, as commands for `nft -f`."""


@pytest.mark.parametrize("name", [*SURPLUS, *IN_OURS])
def test_what_others_put_into_our_table_is_taken_away(config: Config, netns: Namespace, name: str) -> None:
    """Foreign objects beside ours are removed without a new generation, those in our chains with one; none is left."""
    known = inspect(config, Baseline(), ASKED).known
    netns.nft({**SURPLUS, **IN_OURS}[name] + "\n")
    seen = inspect(config, known, ASKED)
    assert seen.differences
    assert seen.known.lasting == ()
    assert seen.known.observed.generation == (1 if name in SURPLUS else 2)
    assert "theirs" not in (table := netns.run("nft", "list", "table", "inet", "geodrop"))
    assert "chain one" not in table
    assert inspect(config, seen.known, ASKED).known is seen.known
    entry = Store(config.state).history.entries()[-1]
    assert (entry.origin, entry.why) == ("repair", "nft (process 5)")
    assert entry.change


def test_our_maps_take_no_elements_of_others(config: Config, netns: Namespace) -> None:
    """The kernel refuses elements: the maps are constant and in use. So the comparison made at the load stays valid."""
    with Connection() as connection:
        [name, *_] = (readback.read(connection) or Snapshot("", 0, {}, {}, (), {})).maps
    done = subprocess.run(
        [
            "nsenter",
            f"--net=/run/netns/{netns.name}",
            "nft",
            f"add element inet geodrop {name} {{ 192.0.2.1 : accept }}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "busy" in done.stderr
    assert inspect(config, Baseline(), ASKED).differences == ()


def test_what_no_repair_lasts_against(config: Config, netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lasting difference is tried once, and again only after another event; other differences are repaired.

    The history says each time that it was there again, and at last that it is gone.
    """
    known = inspect(config, Baseline(), ASKED).known
    tries: list[None] = []
    monkeypatch.setattr(NftablesEngine, "sweep", lambda *_: tries.append(None))
    netns.nft("add chain inet geodrop theirs\n")
    seen = inspect(config, known, ASKED)
    assert [one.where for one in seen.known.lasting] == ["chain theirs"]
    assert len(tries) == 1
    assert seen.differences
    netns.nft("add table ip others\n")
    netns.nft('add chain inet geodrop theirs { comment "again"; }\n')
    held = inspect(config, seen.known, ASKED, links_changed=True)
    assert (held.differences, len(tries)) == ((), 1)
    assert [one.where for one in held.known.lasting] == ["chain theirs"]
    inspect(config, held.known, ASKED, again=True)
    assert len(tries) == 2
    netns.run("nft", "flush", "chain", "inet", "geodrop", "prerouting")
    assert inspect(config, held.known, ASKED).known.observed.generation == 2
    assert "theirs" not in netns.run("nft", "list", "table", "inet", "geodrop")
    assert origins(config) == ["load", "repair", "drift", "repair", "drift", "repair", "drift"]
    drift = [entry for entry in Store(config.state).history if entry.origin == "drift"]
    assert [entry.outcome for entry in drift] == ["failed", "failed", "done"]
    assert "theirs" in drift[0].change


def test_a_program_that_fights_is_no_lasting_difference(
    config: Config, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that repeats its change during the repair is seen as the cause: both changes are repaired at once."""
    known = inspect(config, Baseline(), ASKED).known
    put = OpenChange.apply
    fights = iter([True])

    def fought(self: OpenChange, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as OpenChange.apply
        report = put(self, *arguments, **options)
        if next(fights, False):
            netns.run("nft", "flush", "ruleset")
        return report

    monkeypatch.setattr(OpenChange, "apply", fought)
    netns.run("nft", "flush", "ruleset")
    seen = inspect(config, known, ASKED)
    assert seen.known.lasting == ()
    assert seen.known.observed.generation == 3


def test_where_packets_are_judged_is_set_again(config: Config, netns: Namespace) -> None:
    """After another program took one of two interfaces out of the hook, both are judged again."""
    both = Config(engine="nftables", interfaces=("eth*", "wan*"), state=config.state)
    known = inspect(both, Baseline(), ASKED, links_changed=True).known
    assert [one.name for one in known.observed.interfaces] == ["eth*", "wan*"]
    rules = netns.run("nft", "-a", "list", "chain", "inet", "geodrop", "prerouting")
    [handle] = [line.split()[-1] for line in rules.splitlines() if '"wan' in line]
    netns.run("nft", "delete", "rule", "inet", "geodrop", "prerouting", "handle", handle)
    seen = inspect(both, known, ASKED)
    assert seen.differences[0].where.startswith("chain prerouting")
    assert seen.known.observed.interfaces == known.observed.interfaces


def test_what_was_unloaded_stays_away(config: Config, netns: Namespace) -> None:
    """What was unloaded is not brought back."""
    store = Store(config.state)
    BothEngines.here().remove()
    store.remember(replace(store.intent(), unloaded=True))
    assert inspect(config, Baseline(), ASKED).known.observed.generation == 0
    assert "geodrop" not in netns.run("nft", "list", "ruleset")


def test_a_flush_while_it_looks(config: Config, netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush after the table was verified, before the inspection ends, does not make an empty table right."""
    verify = NftablesEngine.verify
    flushes = iter([True])

    def verified(self: NftablesEngine, *arguments: object, **options: object) -> list[Difference]:
        found = verify(self, *arguments, **options)  # type: ignore[arg-type]
        if next(flushes, False):
            netns.run("nft", "flush", "ruleset")
        return found

    monkeypatch.setattr(NftablesEngine, "verify", verified)
    seen = inspect(config, Baseline(), ASKED)
    assert inspect(config, seen.known, ASKED).known.observed.generation == 2
    assert what_is_loaded(config)[1].generation == 2


def test_one_flush_is_one_load(config: Config, netns: Namespace, tmp_path: Path) -> None:
    """After a flush the table is made once, with one history entry, whatever else is due at the same time: a
    compaction, a load of the same ruleset, a difference that an audit found, a boot.
    """
    file = tmp_path / "other.ruleset"
    file.write_bytes(packed(POLICY_MORE, tmp_path, MANY))
    load(str(file), config, "nftables", ())
    policy = str(file.with_name("less.ruleset"))
    Path(policy).write_bytes(packed(POLICY_CN, tmp_path, MANY))
    quick = apply_file(policy, config, "nftables", (), by_me("reload"), quick=True)
    assert NftablesEngine().is_overlay()
    known = inspect(config, Baseline(), ASKED).known
    netns.run("nft", "flush", "ruleset")
    seen = inspect(config, known, ASKED)
    after, table = seen.known.observed, made(netns)
    assert after.generation == quick.after.generation + 1
    assert compact(config) is None
    assert apply_file(policy, config, "nftables", (), by_me("reload"), quick=True).report is None
    inspect(config, seen.known, ASKED, found=seen.differences)
    boot(config, by_me("boot"), time.time())
    inspect(config, seen.known, ASKED, links_changed=True, again=True)
    assert (made(netns), BothEngines.here().observe()) == (table, after)
    entries = Store(config.state).history.entries()
    loaded = [one.generation for one in entries if one.put_in_force and one.generation > quick.after.generation]
    assert loaded == [after.generation]


def made(netns: Namespace) -> list[str]:
    """Return the table and all its objects, each with the handle that the kernel gave it."""
    return [line for line in netns.run("nft", "-a", "list", "ruleset").splitlines() if "# handle" in line]


def test_what_an_audit_found(config: Config) -> None:
    """Differing data shows in no structure: the audit's finding is verified in full, and repaired if confirmed."""
    found = [Difference("map m", "one thing", "another")]
    seen = inspect(config, inspect(config, Baseline(), ASKED).known, ASKED, found=found)
    # Here the audit was wrong: everything was read, and nothing had to be loaded.
    assert seen.known.observed.generation == 1
    assert list(seen.differences) == found


def test_a_ruleset_that_is_not_kept(config: Config, netns: Namespace) -> None:
    """Without the kept ruleset there is nothing to repair from: an error says so, and nothing changes."""
    for path in (config.state / "rulesets").iterdir():
        path.unlink()
    netns.run("nft", "flush", "ruleset")
    with pytest.raises(DataError):
        inspect(config, Baseline(), ASKED)


def test_every_part_of_the_data_is_read(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts together read each map once; a part that differs says so."""
    read: list[str] = []
    assert [one for part in range(60) for one in check_share(config, part, 60)] == []
    _, _, ruleset = what_is_loaded(config)
    original = readback.dump_elements

    def dumped(connection: Connection, name: str) -> list[memoryview]:
        if name.startswith("__"):
            return original(connection, name)  # an anonymous set belongs to its rule, which is read each time
        read.append(name)
        return []

    monkeypatch.setattr(readback, "dump_elements", dumped)
    differences = [one for part in range(60) for one in NftablesEngine().verify_share(ruleset, part, 60)]
    assert sorted(read) == sorted(set(read))
    assert len(read) == 3
    assert {one.where.split(",")[0] for one in differences} == {f"map {name}" for name in read}
