"""The XDP engine in namespaces: switching under load, what a killed loader leaves, what is somebody else's."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.compile.build import compile_ruleset
from geodrop.dataplane.xdp import libbpf
from geodrop.dataplane.xdp.engine import XdpEngine
from geodrop.dataplane.xdp.programs import Programs
from geodrop.errors import ApplyError, UnavailableError
from geodrop.geo.database import Database
from geodrop.policy.parse import load_policy
from geodrop.ruleset.model import Ruleset
from tests.bench.generator import Generator, received
from tests.bpffs import own_pins
from tests.databases import country, write_database
from tests.namespaces import End, join, namespaces, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.dataplane.xdp.pins import Pins

pytestmark = pytest.mark.root

SWITCHES = 1_000
WORLD = {
    "1.0.0.0/8": country("CN"),
    "2.0.0.0/8": country("US"),
    "5.0.0.0/8": country("RU"),
    "2400::/16": country("CN"),
    "2600::/16": country("US"),
    "2a02::/16": country("RU"),
}
HEAD = "version: 1\nservices:\n  api:\n    match: {ports: {tcp: [443]}}\n"
# Both drop CN and let US through; of RU each says something else, so that both are seen to have been in force.
POLICY_A = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
POLICY_B = HEAD + "    default: deny\n    unknown: deny\n    allow: [US]\n"


def compiled(policy: str, folder: Path) -> Ruleset:
    """A ruleset in memory."""
    database = write_database(folder / "world.mmdb", WORLD)
    parsed, _ = load_policy(policy.encode(), "policy.yaml", _no_lists)
    return Ruleset.unpack(compile_ruleset(parsed, [Database.open(database.read_bytes(), database.name)]), "test")


@pytest.fixture
def rulesets(tmp_path: Path) -> list[Ruleset]:
    """The two policies."""
    return [compiled(policy, tmp_path) for policy in (POLICY_A, POLICY_B)]


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    """A sender and a judged host, joined."""
    require()
    with namespaces("sender", "host") as [sender, host]:
        pair = End(sender, "eth0"), End(host, "eth0")
        join(*pair)
        yield pair


@pytest.fixture
def pins() -> Iterator[Pins]:
    """A bpffs of our own."""
    with own_pins() as made:
        yield made


def counts(engine: XdpEngine) -> dict[tuple[str, str | None], tuple[int, int, int]]:
    """Dropped, would_drop and accepted packets by family and label."""
    return {(one.family, one.label): (one.dropped[0], one.would_drop[0], one.accepted[0]) for one in engine.counters()}


@pytest.mark.slow
def test_switches_under_a_million_packets_a_second(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """A thousand switches while packets of three sources come as fast as the machine can send: none of CN is accepted,
    none of US is dropped, and every packet that came is counted once, by one whole policy.
    """
    engine = XdpEngine(pins=pins)
    addresses = [ip_address(text) for text in ("1.1.1.1", "2.2.2.2", "5.5.5.5", "1.2.3.4")]
    generator = Generator(*ends, addresses, 443)
    sent, seconds = 0, 0.0
    done = threading.Event()

    def flood() -> None:
        nonlocal sent, seconds
        while not done.is_set():
            seconds += generator.send(50_000)
            sent += 50_000

    with contextlib.closing(generator), ends[1].namespace.entered():
        # Without neighbour discovery nothing comes in but what is sent here.
        for end in ends:
            with end.namespace.entered():
                Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1", encoding="ascii")
        engine.apply(rulesets[0], 1, ["eth0"])
        before = received(ends[1])
        thread = threading.Thread(target=flood)
        thread.start()
        try:
            for generation in range(2, SWITCHES + 2):
                engine.apply(rulesets[(generation + 1) % 2], generation, ["eth0"])
        finally:
            done.set()
            thread.join()
        # Frames that are redirected are received a moment later.
        time.sleep(0.2)
        came = received(ends[1]) - before
        found = counts(engine)
        assert engine.verify(rulesets[(SWITCHES + 2) % 2]) == []
    dropped, accepted = found[("ipv4", "CN")][0], found[("ipv4", None)][2]
    russian = found[("ipv4", "RU")][0]
    assert ("ipv4", "US") not in found
    # The generator goes through the four sources at random: half the packets are Chinese, all of them are dropped.
    assert came > sent * 0.9
    assert abs(dropped / came - 0.5) < 0.01
    assert dropped + russian + accepted == came
    assert 0.2 < russian / (came * 0.25) < 0.8, "one of the policies was hardly ever in force"
    print(f"{sent:,} packets at {sent / seconds:,.0f} a second")


def test_a_policy_outlives_the_process(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """A loader that is killed at any moment leaves the old policy or the new one, and the next load succeeds."""
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        seen = set()
        for number in range(24):
            before = engine.observe()
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    XdpEngine(pins=pins).apply(rulesets[(number + 1) % 2], before.generation + 1, ["eth0"])
                os._exit(0)
            time.sleep(0.0015 * number)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            after = engine.observe()
            assert after.generation in (before.generation, before.generation + 1)
            assert [interface.name for interface in after.interfaces] == ["eth0"]
            current = next(one for one in rulesets if one.digest == after.digest)
            assert engine.verify(current) == []
            seen.add(after.generation - before.generation)
        engine.apply(rulesets[0], engine.observe().generation + 1, ["eth0"])
        assert engine.verify(rulesets[0]) == []
        assert engine.remove()
    assert seen == {0, 1}, "killed always too early, or always too late"


def test_somebody_elses_program_is_left_alone(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """A program on the interface that is not ours stays, is named, and nothing of ours is left."""
    with ends[1].namespace.entered():
        with own_pins() as others:
            theirs = XdpEngine(pins=others)
            theirs.apply(rulesets[0], 1, ["eth0"])
            ours = XdpEngine(pins=pins)
            with pytest.raises(UnavailableError, match="eth0 has an XDP program that is not geodrop's"):
                ours.apply(rulesets[1], 1, ["eth0"])
            assert ours.observe().generation == 0
            assert pins.sets() == []
            assert theirs.verify(rulesets[0]) == []
            theirs.remove()
        ours.apply(rulesets[1], 2, ["eth0"])
        assert ours.observe().interfaces[0].attach == "native"
        ours.remove()


def test_an_interface_that_went_and_came_back(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """Its link is gone with it, `observe` says so, and the next load attaches again."""
    host = ends[1].namespace
    with host.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        host.run("ip", "link", "set", "eth0", "down")
        host.run("ip", "link", "set", "eth0", "name", "wan0")
        assert engine.observe().interfaces[0].name == "wan0"
        host.run("ip", "link", "delete", "wan0")
        assert engine.observe().interfaces == ()
        host.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
        engine.apply(rulesets[0], 2, ["eth*"])
        assert [one.name for one in engine.observe().interfaces] == ["eth0"]
        assert len(pins.link_indexes()) == 1
        with pytest.raises(ApplyError, match="no interface matches wlan0"):
            engine.apply(rulesets[0], 3, ["wlan0"])
        engine.remove()
        assert not pins.folder.exists()


def test_a_new_program_takes_over_with_its_counters(
    ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version is loaded beside, links move to it, what was counted is kept, the old one is gone."""
    generator = Generator(*ends, [ip_address("1.1.1.1")], 443)
    with contextlib.closing(generator), ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        generator.send(1_000)
        time.sleep(0.1)
        old = pins.sets()
        monkeypatch.setattr(engine.loader, "version", lambda: "0123456789ab")
        engine.apply(rulesets[0], 2, ["eth0"])
        assert len(pins.sets()) == 1
        assert pins.sets() != old
        assert counts(engine)[("ipv4", "CN")][0] == 1_000
        generator.send(500)
        time.sleep(0.1)
        assert counts(engine)[("ipv4", "CN")][0] == 1_500
        assert engine.verify(rulesets[0]) == []
        engine.remove()


def test_verify_finds_what_was_changed(ends: tuple[End, End], rulesets: list[Ruleset], pins: Pins) -> None:
    """One changed byte of the policy or of the tables is a difference."""
    with ends[1].namespace.entered():
        engine = XdpEngine(pins=pins)
        engine.apply(rulesets[0], 1, ["eth0"])
        with Programs.open(pins.sets()[0]) as programs:
            word = programs.word()
            for kind, slot, where in (("tables", word.tables, "tables map"), ("policy", word.policy, "policy map")):
                fd = libbpf.get(str(programs.folder / f"{kind}{slot}"))
                with libbpf.map_memory(fd, 1 << 18) as memory:
                    kept = memory[100_000]
                    memory[100_000] = kept ^ 1
                    assert next(one.where for one in engine.verify(rulesets[0])).startswith(where)
                    memory[100_000] = kept
                os.close(fd)
        assert engine.verify(rulesets[0]) == []
        engine.remove()


def _no_lists(name: str) -> bytes:
    raise AssertionError(name)
