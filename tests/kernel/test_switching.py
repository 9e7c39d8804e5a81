# SPDX-License-Identifier: Apache-2.0
"""Switching under traffic: a whole policy judges at every instant, also after a killed loader."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from geodrop.cli.main import main
from geodrop.config import load_config
from geodrop.data import bundled_database
from geodrop.engine.api import Scope
from geodrop.geo.database import Database
from geodrop.nftables import overlay
from geodrop.nftables.engine import NftablesEngine
from geodrop.operations.load import load
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.oracle.packet import LOCAL
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database
from tests.support.namespaces import End, join, namespaces, require
from tests.support.traffic import Tally, Traffic
from tests.support.worlds import compile_ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

pytestmark = [pytest.mark.root, pytest.mark.slow]

SWITCHES = 200

WORLD = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/8": country("US"),
    "5.0.0.0/8": country("RU"),
    "6.0.0.0/8": country("KP"),
    "2400::/16": country("CN"),
    "2600::/16": country("US"),
    "2a02::/16": country("RU"),
    "2a03::/16": country("KP"),
}
DENIED = ["1.1.1.1", "2400::1", "2002:101:101::1"]
ALLOWED = ["2.2.2.2", "2600::2", "2002:202:202::1"]
ONLY_A = ["5.5.5.5", "2a02::5"]
ONLY_B = ["6.6.6.6", "2a03::6"]

HEAD = "version: 1\nservices:\n  api:\n    match: {ports: {tcp: [443]}}\n"
# The two policies agree about CN and US in forms that differ as much as possible: a deny list and an allow list.
POLICY_A = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN, KP]\n"
POLICY_B = HEAD + "    default: deny\n    unknown: deny\n    allow: [US, KP]\n"

WORLD_A = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN, RU, IR, KP, CU, SY, BY, HK, MO, VE]\n"
WORLD_B = (Path(__file__).parents[2] / "deploy" / "policies" / "ai-api-allow-list.yaml").read_text()
WORLD_SWITCHES = 10


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """A sender and a judged host, joined."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        pair = End(sender, "eth0"), End(host, "eth0", [f"{LOCAL[4]}/24", f"{LOCAL[6]}/64"])
        join(*pair)
        yield pair


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of these tests."""
    return write_database(tmp_path_factory.mktemp("switching") / "world.mmdb", WORLD)


def compiled(policy: str, database: Path) -> Ruleset:
    """Compile a ruleset in memory."""
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    return Ruleset.unpack(compile_ruleset(parsed, [Database.open(database.read_bytes(), database.name)]), "test")


def assert_whole(traffic: Traffic, switches: int) -> None:
    """Check that nothing leaked and nothing was wrongly dropped.

    Of two sources that one policy each accepts, exactly one was accepted at any time.
    """
    tallies = traffic.tallies
    assert {source: tally.passed for source, tally in tallies.items() if source in DENIED} == dict.fromkeys(DENIED, 0)
    for source in ALLOWED:
        assert tallies[source] == Tally(*[tallies[source].sent] * 3), source
    for source, other in zip(ONLY_A, ONLY_B, strict=True):
        assert min(tallies[source].passed, tallies[other].passed) > 0, "the policies were never both in force"
        # The sources send in turn, so a switch can split a pair; more means that both or neither policy was in force.
        both_or_neither = tallies[source].passed + tallies[other].passed - tallies[source].sent
        assert abs(both_or_neither) <= switches


def switch(engine: NftablesEngine, wanted: Ruleset, generation: int, overlaid: Sequence[Ruleset]) -> None:
    """Load the next generation: an overlay over one of `overlaid`, but whole every fifth time or if there are none."""
    kept = {ruleset.digest: ruleset for ruleset in overlaid}.get if generation % 5 else None
    with engine.staged(wanted, generation, kept) as staged:
        staged.switch(Scope(("eth0",)))
    assert engine.is_overlay() == (bool(overlaid) and generation % 5 > 0)


@pytest.fixture(params=["whole", "overlay"])
def are_overlays(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether generations are overlays; then none is too small or too different for one."""
    with mock.patch.multiple(overlay, LARGEST=0, SMALLEST=0):
        yield request.param == "overlay"


def test_200_switches_under_traffic(ends: tuple[End, End], world: Path, *, are_overlays: bool) -> None:
    """No packet leaks and none is wrongly dropped while policies switch: both families and embedded IPv4."""
    rulesets = [compiled(policy, world) for policy in (POLICY_A, POLICY_B)]
    engine = NftablesEngine()
    with ends[1].namespace.entered():
        engine.apply(rulesets[0], 1, ["eth0"])
        with Traffic(*ends, [*DENIED, *ALLOWED, *interleaved()]) as traffic:
            for generation in range(2, SWITCHES + 2):
                switch(engine, rulesets[(generation + 1) % 2], generation, rulesets if are_overlays else ())
        assert engine.verify(rulesets[SWITCHES % 2]) == []
        engine.remove()
    assert_whole(traffic, SWITCHES)
    assert traffic.tallies[DENIED[0]].reached > 10 * SWITCHES


def test_switches_of_world_size_under_traffic(ends: tuple[End, End], tmp_path: Path, *, are_overlays: bool) -> None:
    """No packet leaks with maps of tens of thousands of intervals, whose filling and deleting outlast a switch."""
    database = bundled_database(tmp_path)
    denied, allowed = ["114.114.114.114", "2400:da00::6666"], ["8.8.8.8", "2001:4860:4860::8888"]
    rulesets = [compiled(policy, database) for policy in (WORLD_A, WORLD_B)]
    engine = NftablesEngine()
    with ends[1].namespace.entered():
        engine.apply(rulesets[0], 1, ["eth0"])
        with Traffic(*ends, [*denied, *allowed]) as traffic:
            for generation in range(2, WORLD_SWITCHES + 2):
                switch(engine, rulesets[(generation + 1) % 2], generation, rulesets if are_overlays else ())
        engine.remove()
    for source in denied:
        assert traffic.tallies[source].passed == 0 < traffic.tallies[source].sent
    for source in allowed:
        assert traffic.tallies[source] == Tally(*[traffic.tallies[source].sent] * 3)


def test_a_killed_first_load_leaves_nothing_or_all(ends: tuple[End, End], world: Path, tmp_path: Path) -> None:
    """After a first load is killed, nothing or the whole policy is in force; the next load succeeds."""
    host = ends[1].namespace
    geodrop = Geodrop(tmp_path, host)
    file = geodrop.compile(POLICY_A, world)
    ruleset, config = Ruleset.open(file), load_config(str(tmp_path / "agent.yaml"))
    engine, outcomes = NftablesEngine(), set()
    with host.entered():
        for step in itertools.count(1):
            if not killed_at(step, geodrop.command("load", str(file), "--interface", "eth0")):
                break
            observed = engine.observe()
            outcomes.add(bool(observed.generation))
            assert observed.digest in {"", ruleset.digest}
            load(str(file), config, "nftables", ["eth0"])
            assert engine.verify(ruleset) == []
            engine.remove()
    assert outcomes == {True, False}


def test_a_killed_loader_leaves_old_or_new(ends: tuple[End, End], world: Path, tmp_path: Path) -> None:
    """After `geodrop load` is killed before any call to the kernel or the state directory, a whole policy is in force.

    It is the old or the new one. Nothing leaks meanwhile, and the next load succeeds.
    """
    host = ends[1].namespace
    geodrop = Geodrop(tmp_path, host)
    files = {name: geodrop.compile(policy, world, name=name) for name, policy in (("a", POLICY_A), ("b", POLICY_B))}
    config = load_config(str(tmp_path / "agent.yaml"))
    in_force, outcomes = "a", set()
    with host.entered():
        load(str(files["a"]), config, "nftables", ["eth0"])
        with Traffic(*ends, [*DENIED, *ALLOWED, *interleaved()]) as traffic:
            for step in itertools.count(1):
                wanted = "b" if in_force == "a" else "a"
                if not killed_at(step, geodrop.command("load", str(files[wanted]), "--interface", "eth0")):
                    break
                in_force = policy_in_force(traffic)
                outcomes.add(in_force == wanted)
                # The next process finds what is in force, and finishes or repeats the change.
                loaded = load(str(files[in_force]), config, "nftables", ["eth0"])
                assert loaded.before.digest == Ruleset.open(files[in_force]).digest
                assert NftablesEngine().verify(Ruleset.open(files[in_force])) == []
        generation = NftablesEngine().observe().generation
    assert step > 10, "the loader was hardly ever killed"
    assert outcomes == {True, False}, "kills came only before the switch, or only after it"
    assert {source: traffic.tallies[source].passed for source in DENIED} == dict.fromkeys(DENIED, 0)
    assert all(traffic.tallies[source].passed == traffic.tallies[source].sent for source in ALLOWED)
    listing = host.run("nft", "--terse", "list", "table", "inet", "geodrop")
    chains = [line.split()[1] for line in listing.splitlines() if line.strip().startswith("chain ")]
    assert {re.split("[-.]", name)[0] for name in chains} == {"prerouting", f"g{generation}"}, (
        "leftovers of killed loaders"
    )


CALLS = {"send", "sendall", "sendto", "sendmsg", "replace", "fsync", "flock"}
"""The functions of sockets, os and fcntl through which a process changes anything outside itself."""


def killed_at(step: int, command: list[str]) -> bool:
    """Run a `geodrop` command line in a child that kills itself before call `step` of `CALLS`.

    Returns False if the child ended before that call. To other processes, the moment after one call is the moment
    before the next.
    """
    done = 0

    def profile(_: FrameType, event: str, function: object) -> None:
        nonlocal done
        if event == "c_call" and getattr(function, "__name__", "") in CALLS:
            if not isinstance(getattr(function, "__self__", None), socket.socket | ModuleType):
                return  # str.replace and other functions of these names
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.setprofile(profile)
        os._exit(main(command[command.index("geodrop") + 1 :]))
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}
    return code != 0


def policy_in_force(traffic: Traffic) -> str:
    """Return which policy judges at the moment: the one whose own sources arrive, in both families."""
    before, deadline = traffic.passed(), time.monotonic() + 60
    coming: set[str] = set()
    while not (coming >= set(ALLOWED) and coming & {*ONLY_A, *ONLY_B}):
        assert time.monotonic() < deadline, coming
        now = traffic.passed()
        coming = {source for source in now if now[source] > before[source] + 2}
    # A whole policy: every source of one and none of the other.
    own = coming & {*ONLY_A, *ONLY_B}
    assert own in ({*ONLY_A}, {*ONLY_B}), coming
    return "a" if own == {*ONLY_A} else "b"


def interleaved() -> list[str]:
    """Return the sources that only one policy accepts, each followed by its counterpart."""
    return [source for pair in zip(ONLY_A, ONLY_B, strict=True) for source in pair]


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)
