# SPDX-License-Identifier: Apache-2.0
"""No failure locks anyone out: each leak test here also asks who still gets in.

SSH, a never-drop port by default, comes from denied and from allowed addresses and always gets in. An allowed client is
never cut off by a failure, only by a policy that denies it.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Config
from geodrop.errors import ApplyError
from geodrop.nftables import diff
from geodrop.nftables.engine import NftablesEngine
from geodrop.nftables.netlink import messages
from geodrop.operations.change import by_me
from geodrop.operations.load import load, unload
from geodrop.operations.pause import pause, resume
from geodrop.operations.repair import Baseline, inspect
from geodrop.operations.rollback import roll_back
from geodrop.ruleset.model import Ruleset
from geodrop.state.intent import FOREVER
from geodrop.state.lock import exclusive
from geodrop.state.store import Store
from tests.oracle.packet import LOCAL
from tests.support.cli import Geodrop
from tests.support.databases import country, write_database
from tests.support.namespaces import End, join, namespaces, require
from tests.support.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geodrop.nftables.model import Content

pytestmark = pytest.mark.root

WORLD = {
    **{f"{number}.0.0.0/8": country("CN") for number in (1, 3, 5, 7)},
    "2.0.0.0/8": country("US"),
    "4.0.0.0/8": country("JP"),
    "2400::/16": country("CN"),
    "2402::/16": country("CN"),
    "2600::/16": country("US"),
    "2601::/16": country("JP"),
}
DENIED = ["1.1.1.1", "7.7.7.7", "2400::1", "2402::1"]
ALLOWED = ["2.2.2.2", "2600::2"]
JAPAN = ["4.4.4.4", "2601::4"]
SSH = dict.fromkeys(["1.1.1.22", "7.7.7.22", "2.2.2.22", "4.4.4.22", "2400::22", "2600::22", "2601::22"], 22)

HEAD = "version: 1\nservices:\n  api:\n    match: {ports: {tcp: [443, 22]}}\n"
DENY_LIST = HEAD + "    default: allow\n    unknown: allow\n    deny: [CN]\n"
ALLOW_LIST = HEAD + "    default: deny\n    unknown: deny\n    allow: [US, JP]\n"
POLICIES = {"deny list": DENY_LIST, "allow list": ALLOW_LIST}


class Host:
    """A judged host, a sender joined to it, and the command line."""

    def __init__(self, ends: tuple[End, End], folder: Path) -> None:
        self.ends = ends
        self.geodrop = Geodrop(folder, ends[1].namespace)
        self.database = write_database(folder / "world.mmdb", WORLD)

    def compiled(self, policy: str) -> Ruleset:
        """Compile a ruleset of the whole world."""
        return Ruleset.open(self.geodrop.compile(policy, self.database))

    def traffic(self) -> Traffic:
        """Send packets from every source; sources of SSH send to its port."""
        return Traffic(*self.ends, [*DENIED, *ALLOWED, *JAPAN, *SSH], ports=SSH)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with nothing in force."""
    require()
    with namespaces("sender", "host") as [sender, judged]:
        ends = End(sender, "eth0"), End(judged, "eth0", [f"{LOCAL[4]}/24", f"{LOCAL[6]}/64"])
        join(*ends)
        yield Host(ends, tmp_path)


def assert_through(traffic: Traffic, *, all_of: list[str], none_of: list[str]) -> None:
    """All packets of some sources arrived and none of others; SSH always did."""
    shares = {source: (tally.passed, tally.sent) for source, tally in traffic.tallies.items()}
    assert all(sent > 0 for _, sent in shares.values())
    assert {source for source in [*all_of, *SSH] if shares[source][0] != shares[source][1]} == set(), "cut off"
    assert {source for source in none_of if shares[source][0]} == set(), "leaked"


SHORT: dict[str, Callable[[Content], Content]] = {
    "an empty map": lambda content: content.part(0, 0),
    "half a load": lambda content: content.part(0, len(content) // 2),
    "an element gone": lambda content: content.part(1, len(content)),
}


def falls_short(patched: pytest.MonkeyPatch, kept: Callable[[Content], Content]) -> None:
    """From now on, less of each map reaches the kernel than was sent."""
    whole = messages.new_elements
    patched.setattr(messages, "new_elements", lambda map_: whole(replace(map_, content=kept(map_.content))))


def come_through(traffic: Traffic, source: str) -> None:
    """Wait until some packets have arrived."""
    deadline = time.monotonic() + 60
    while traffic.passed()[source] < 10:
        assert time.monotonic() < deadline, f"nothing of {source} comes through"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", SHORT)
def test_a_fill_that_falls_short_never_judges(
    host: Host, monkeypatch: pytest.MonkeyPatch, policy: str, kind: str
) -> None:
    """If the kernel holds less than was sent, the load fails before the switch, and the old policy stays in force."""
    before, after = host.compiled(POLICIES[policy]), host.compiled(POLICIES[policy].replace("[443,", "[443, 80,"))
    engine = NftablesEngine()
    with host.ends[1].namespace.entered():
        engine.apply(before, 1, ["eth0"])
        with host.traffic() as traffic:
            with monkeypatch.context() as patched:
                falls_short(patched, SHORT[kind])
                with pytest.raises(ApplyError):
                    engine.apply(after, 2, ["eth0"])
            assert engine.observe().generation == 1
            assert engine.verify(before) == []
    assert_through(traffic, all_of=[*ALLOWED, *JAPAN], none_of=DENIED)


@pytest.mark.parametrize("policy", POLICIES)
def test_elements_that_are_gone_cut_nobody_off(host: Host, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    """If a map in use loses its elements, allowed clients and SSH get in, and `verify` reports it."""
    ruleset = host.compiled(POLICIES[policy])
    engine = NftablesEngine()
    with host.ends[1].namespace.entered():
        with monkeypatch.context() as patched:
            falls_short(patched, SHORT["an empty map"])
            patched.setattr(diff, "content", lambda *_: [])
            engine.apply(ruleset, 1, ["eth0"])
        with host.traffic() as traffic:
            assert [one.where for one in engine.verify(ruleset)]
            come_through(traffic, ALLOWED[0])
    assert_through(traffic, all_of=[*ALLOWED, *JAPAN], none_of=[])


def test_a_database_that_has_lost_an_allowed_country(host: Host) -> None:
    """A warning names the line of the lost country; its clients count as unknown and are dropped, and SSH gets in."""
    lost = {network: record for network, record in WORLD.items() if record != country("JP")}
    database = write_database(host.geodrop.folder / "lost.mmdb", lost)
    source, output = host.geodrop.folder / "policy.yaml", host.geodrop.folder / "lost.ruleset"
    source.write_text(ALLOW_LIST)
    done = host.geodrop.good("compile", "--policy", str(source), "--database", str(database), "-o", str(output))
    assert "warning: JP: no loaded database has an address of this country" in done.err
    host.geodrop.good("load", str(output), "--interface", "eth0")
    with host.traffic() as traffic:
        come_through(traffic, ALLOWED[0])
    assert_through(traffic, all_of=ALLOWED, none_of=[*DENIED, *JAPAN])


PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of sixteen megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def room_for(disk: Path, pages: int) -> Iterator[None]:
    """Leave this many pages on a disk, and no reserve: a later write fails sooner or later."""
    (disk / "reserve").unlink(missing_ok=True)
    full = disk / "fill"
    with contextlib.suppress(OSError), full.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(PAGE))
    with full.open("ab") as file:
        file.truncate(file.tell() - PAGE * pages)
    yield
    full.unlink()


class Changer:
    """Changes what is in force on a host whose disk fills up; `files` are two known policies and a new one."""

    def __init__(self, host: Host, disk: Path) -> None:
        self.host, self.config = host, Config(state=disk, engine="nftables", interfaces=("eth0",))
        texts = [DENY_LIST.replace("[443,", ports) for ports in ("[443,", "[443, 80,", "[443, 81,")]
        self.files = [str(host.geodrop.compile(text, host.database, name=f"p{at}")) for at, text in enumerate(texts)]

    def begin(self) -> None:
        """Put the first policy in force, then the second."""
        Store(self.config.state).write_back()
        for file in self.files[:2]:
            self.load(file)

    def load(self, file: str) -> None:
        """Load by hand."""
        load(file, self.config, "nftables", ())

    def pause(self) -> None:
        """Pause without an end."""
        with exclusive():
            pause(self.config, by_me("pause"), FOREVER)

    def resume(self) -> None:
        """Resume."""
        with exclusive():
            resume(self.config, by_me("resume"))

    def roll_back(self) -> None:
        """Roll back to the previous policy."""
        with exclusive():
            roll_back(self.config, by_me("rollback"))

    def repair(self) -> None:
        """Repair what another program took away."""
        self.host.ends[1].namespace.run("nft", "delete", "table", "inet", "geodrop")
        with exclusive():
            inspect(self.config, Baseline(), by_me("repair"))


CHANGES: dict[str, tuple[Callable[[Changer], object], bool]] = {
    "load a new one": (lambda changer: changer.load(changer.files[2]), True),
    "load a kept one": (lambda changer: changer.load(changer.files[0]), True),
    "pause": (Changer.pause, False),
    "resume": (Changer.resume, True),
    "roll back": (Changer.roll_back, True),
    "repair": (Changer.repair, True),
    "unload": (lambda changer: unload(changer.config), False),
}
"""Each action on a full disk, and whether denied packets are dropped afterwards."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_full_disk_at_each_write(host: Host, disk: Path, name: str) -> None:
    """The disk takes nothing, or more and more of what a change writes, until it takes all of it.

    SSH gets in and allowed clients are served all the time; denied ones are dropped where the change demands it. Only a
    new policy may be refused, and then the old one is still in force.
    """
    change, drops = CHANGES[name]
    changer, outcomes = Changer(host, disk), []
    size = -(-Path(changer.files[2]).stat().st_size // PAGE)
    with host.ends[1].namespace.entered(), host.traffic() as traffic:
        for pages in itertools.chain((0, size - 1), itertools.count(size)) if name == "load a new one" else range(99):
            changer.begin()
            if name == "resume":
                changer.pause()
            with room_for(disk, pages):
                try:
                    change(changer)
                except ApplyError as error:
                    assert "No space left on device" in error.message  # noqa: PT017 - as good as an answer
                    outcomes.append("refused")
                else:
                    outcomes.append("held" if Store(disk).unwritten() else "done")
                before = traffic.passed()
                while min((after := traffic.passed())[source] - before[source] for source in [*SSH, *ALLOWED]) < 5:
                    time.sleep(0.02)
                assert {after[source] == before[source] for source in DENIED} == {drops}
            if outcomes[-1] == "done":
                break
            if name == "pause":
                changer.resume()
    assert_through(traffic, all_of=[*ALLOWED, *JAPAN], none_of=[])
    assert outcomes[0] == ("refused" if name == "load a new one" else "held")
    assert "refused" not in outcomes or name == "load a new one"
