# SPDX-License-Identifier: Apache-2.0
"""Loads that have to be confirmed, with nobody running: each way to end a window, and what is kept over it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Config
from geodrop.dataplane.both import BothEngines
from geodrop.engine.api import TICKS
from geodrop.errors import ApplyError, BusyError, DataError
from geodrop.linux.clock import monotonic
from geodrop.nftables.engine import NftablesEngine
from geodrop.operations.boot import boot
from geodrop.operations.change import by_me, finish_undo
from geodrop.operations.confirm import confirm
from geodrop.operations.follow_interfaces import follow_interfaces
from geodrop.operations.load import apply_file, remove_all
from geodrop.operations.pause import pause, resume
from geodrop.operations.repair import Baseline, inspect
from geodrop.operations.rollback import roll_back
from geodrop.report.pieces import whole
from geodrop.report.status import read_status
from geodrop.report.verify import read_verify
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import ChangeRequest
from geodrop.state.history import policies
from geodrop.state.lock import exclusive
from geodrop.state.store import Store
from tests.support.bpffs import own_pins
from tests.support.databases import country
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces
from tests.support.waiting import until
from tests.support.worlds import HEAD, packed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.operations.outcome import Outcome
    from tests.support.namespaces import Namespace

HOUR = 3_600
DENIED = {"CN": "1.0.1.1", "RU": "1.0.2.1", "IR": "1.0.3.1"}
WORLD = {f"{address}/32": country(code) for code, address in DENIED.items()}
POLICY = HEAD + "    default: allow\n    unknown: allow\n    deny: [CODE]\n"


class Host:
    """A namespace, a state directory, and rulesets that each deny one country."""

    def __init__(self, netns: Namespace, folder: Path) -> None:
        self.netns = netns
        self.config = Config(engine="nftables", interfaces=("lo",), state=folder / "state")
        self.rulesets = {}
        for code in DENIED:
            file = folder / f"{code}.ruleset"
            file.write_bytes(packed(POLICY.replace("CODE", code), folder, WORLD))
            self.rulesets[code] = Ruleset.open(file)

    @property
    def store(self) -> Store:
        """Return the state."""
        return Store(self.config.state)

    def load(self, code: str, within: int = 0) -> Outcome:
        """Load a ruleset."""
        return apply_file(self.rulesets[code], self.config, "nftables", (), by_me("load", "CHG-1", within))

    def drops(self) -> set[str]:
        """Return the countries that the kernel's tables drop now."""
        ruleset_in_force = self.rulesets["CN"]
        answers = BothEngines.here().judge(ruleset_in_force, list(DENIED.values()))
        return {code for code, [answer] in zip(DENIED, answers, strict=True) if answer.verdict == "drop"}

    def verified(self) -> bool:
        """Compare everything in the kernel with what it should hold."""
        return bool(whole(read_verify(self.config, full=True))["agrees"])


@pytest.fixture
def host(netns: Namespace, tmp_path: Path) -> Iterator[Host]:
    """Return a host with CN denied, and the lock held."""
    with exclusive():
        made = Host(netns, tmp_path)
        made.load("CN")
        yield made


def is_over() -> bool:
    """Tell whether the kernel has gone back."""
    window = BothEngines.here().observe().window
    return window is None or window.over


def test_confirmed(host: Host) -> None:
    """Until then a boot would restore the one before; afterwards the new one is the last good and a step back."""
    loaded = host.load("RU", HOUR)
    assert loaded.confirm is not None
    assert host.drops() == {"RU"}
    assert host.verified()
    intent = host.store.intent()
    assert (intent.digest, intent.last_good) == (host.rulesets["RU"].digest, host.rulesets["CN"].digest)
    assert [one.digest for one in policies(host.store.history)] == [host.rulesets["CN"].digest]
    status = read_status(host.config)
    assert (status["state"], status["healthy"]) == ("enforcing", True)
    assert (status["confirm"]["generation"], status["confirm"]["previous"]) == (2, 1)
    with pytest.raises(BusyError, match="waits to be confirmed, and not"):
        confirm(host.config, by_me("confirm"), host.rulesets["IR"].digest)
    assert confirm(host.config, by_me("confirm"), loaded.after.digest[:12]).text == "confirmed: generation 2 stays"
    assert host.verified()
    assert host.store.intent().last_good == host.rulesets["RU"].digest
    assert read_status(host.config)["confirm"] is None
    assert "for good" in confirm(host.config, by_me("confirm"), loaded.after.digest[:12]).text
    with pytest.raises(ApplyError, match="nothing waits"):
        confirm(host.config, by_me("confirm"), host.rulesets["IR"].digest)
    roll_back(host.config, by_me("rollback"))
    assert host.drops() == {"CN"}


def test_undone_by_the_kernel(host: Host) -> None:
    """It is found at the next change or read, recorded once, and counts as a rollback; confirming is too late."""
    host.load("RU", 1)
    until(is_over)
    assert host.drops() == {"CN"}
    before = read_status(host.config)
    assert (before["state"], before["rolled_back"], before["confirm"]) == ("enforcing, but degraded", True, None)
    assert before["undone"]["digest"] == host.rulesets["RU"].digest
    assert before["problems"][0].startswith("generation 2 (CHG-1) was not confirmed and undone at ")
    with pytest.raises(ApplyError, match="too late: generation 2"):
        confirm(host.config, by_me("confirm"), host.rulesets["RU"].digest)
    recorded = read_status(host.config)
    # `since` and the failed confirmation are from the history, which a reader does not write.
    changes = {"observed": None, "last_failure": None, "since": None}
    assert {**recorded, **changes} == {**before, **changes}
    assert host.verified()
    assert BothEngines.here().observe().window is None
    finish_undo(host.config)
    undone = [one for one in host.store.history if one.origin == "undo"]
    assert [(one.generation, one.digest, one.why) for one in undone] == [(1, host.rulesets["CN"].digest, "CHG-1")]
    host.load("RU")
    assert read_status(host.config)["problems"] == []
    roll_back(host.config, by_me("rollback"))
    assert host.drops() == {"CN"}


def test_undone_by_hand(host: Host) -> None:
    """A rollback goes back at once, and no further while a load waits."""
    host.load("RU")
    host.load("IR", HOUR)
    for step in ({"back": 2}, {"generation": 1}):
        with pytest.raises(BusyError, match="is the only step back"):
            roll_back(host.config, by_me("rollback"), **step)  # type: ignore[arg-type]  # one of its arguments each
    assert host.drops() == {"IR"}
    assert roll_back(host.config, by_me("rollback")).text.startswith("generation 3 -> 2: back to ruleset")
    assert host.drops() == {"RU"}
    assert host.verified()
    assert (host.store.intent().rolled_back, host.store.intent().undone) == (True, None)
    roll_back(host.config, by_me("rollback"))
    assert host.drops() == {"CN"}


def test_the_same_again_and_another(host: Host) -> None:
    """The same ruleset sets the deadline again; another one is refused and nothing changes."""
    host.load("RU", HOUR)
    first = host.store.intent().confirm
    with pytest.raises(BusyError, match="waits to be confirmed until"):
        host.load("IR")
    assert first is not None
    assert host.load("RU", 2 * HOUR).confirm != first
    again = host.store.intent().confirm
    assert again is not None
    assert again.deadline > first.deadline + HOUR * 9 * 10**8
    assert (again.generation, again.previous) == (2, 1)
    assert host.verified()
    host.load("RU")  # without a time: as long as before
    assert host.store.intent().confirm is not None
    assert host.drops() == {"RU"}


def test_pause_and_repair_keep_the_window(host: Host) -> None:
    """Both generations are paused, resumed and filled again; the deadline stays where it was."""
    host.load("RU", HOUR)
    began = host.store.intent().confirm
    assert began is not None
    pause(host.config, by_me("pause"), 4_000_000_000)
    assert host.drops() == set()
    assert host.verified()
    resume(host.config, by_me("resume"))
    assert host.drops() == {"RU"}
    for command in (("flush", "ruleset"), ("delete", "element", "inet", "geodrop", "g8.window", "{ 0x0 }")):
        host.netns.run("nft", *command)
        assert inspect(host.config, Baseline(), ChangeRequest("repair", os.getuid())).differences
        assert host.drops() == {"RU"}
        assert host.verified()
    confirmed = host.store.intent().confirm
    assert confirmed is not None
    assert abs(confirmed.deadline - began.deadline) < 10**9
    follow_interfaces(replace(host.config, interfaces=("lo", "eth0")))
    assert host.verified()
    roll_back(host.config, by_me("rollback"))
    assert host.drops() == {"CN"}


def test_a_boot_in_a_window(host: Host) -> None:
    """What is not confirmed is not booted, whatever time is left; it counts as undone."""
    host.load("RU", HOUR)
    host.netns.run("nft", "flush", "ruleset")
    boot(host.config, by_me("boot"), 0)
    assert host.drops() == {"CN"}
    assert host.verified()
    intent = host.store.intent()
    assert (intent.confirm, intent.rolled_back, intent.digest) == (None, True, host.rulesets["CN"].digest)
    assert intent.undone is not None


@pytest.mark.parametrize("country", ["RU", "CN"])
def test_nothing_before(host: Host, country: str) -> None:
    """The undo goes back to that, and nothing restores the load; the next explicit one does.

    The ruleset may be the one that was unloaded, perhaps because it had locked an operator out.
    """
    remove_all(host.config, by_me("unload"))
    assert host.load(country, 1).confirm is not None
    assert read_status(host.config)["confirm"]
    until(is_over)
    # The kernel's timer may end some milliseconds before the deadline that is written down.
    until(lambda: read_status(host.config)["unloaded"])
    assert read_status(host.config)["state"] == "not enforcing"
    finish_undo(host.config)
    assert BothEngines.here().observe().generation == 0
    assert "was not confirmed" in boot(host.config, by_me("boot"), 0).text
    host.load(country, HOUR)
    assert roll_back(host.config, by_me("rollback")).text.endswith("as before it, until the next reload")
    assert BothEngines.here().observe().generation == 0


def test_what_was_asked_for_before_is_not_on_trial(host: Host) -> None:
    """There is nothing to go back to, and it says so, since the operator counts on a way back."""
    said = "not on trial: ruleset "
    assert [one for one in host.load("CN", HOUR).warnings if one.startswith(said)]
    assert read_status(host.config)["confirm"] is None
    assert not [one for one in host.load("RU", HOUR).warnings if one.startswith(said)]


def test_unload_ends_a_window(host: Host) -> None:
    """Nothing comes back at the deadline."""
    host.load("RU", HOUR)
    remove_all(host.config, by_me("unload"))
    assert host.store.intent().confirm is None
    assert read_status(host.config)["undone"] is None


def test_what_cannot_be_gone_back_to(host: Host) -> None:
    """Without the ruleset in force in the state directory a load that has to be confirmed is refused."""
    host.store.ruleset_path(host.rulesets["CN"].digest).unlink()
    with pytest.raises(DataError, match="is not in"):
        host.load("RU", HOUR)
    assert BothEngines.here().observe().digest == host.rulesets["CN"].digest


def test_a_load_that_ended_before_it_wrote_it_down(host: Host) -> None:
    """The kernel knows the window: it can be confirmed, and it is undone and recorded like any other."""
    before = (host.config.state / "intent.json").read_bytes()
    host.load("RU", HOUR)
    (host.config.state / "intent.json").write_bytes(before)
    assert read_status(host.config)["confirm"]["digest"] == host.rulesets["RU"].digest
    with pytest.raises(BusyError):
        host.load("IR")
    confirm(host.config, by_me("confirm"))
    assert host.verified()
    host.load("IR", 1)
    kept = json.loads((host.config.state / "intent.json").read_text())
    spent = {"confirm": None, "digest": kept["last_good"], "begun": kept["generation"]}
    (host.config.state / "intent.json").write_text(json.dumps({**kept, **spent}))
    until(is_over)
    finish_undo(host.config)
    assert host.drops() == {"RU"}
    assert host.store.intent().undone is not None


SERVER = """
import socket
server = socket.create_server(("192.0.2.1", 22022))
print("ready", flush=True)
connection, _ = server.accept()
while data := connection.recv(1):
    connection.sendall(data)
"""


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_an_operator_who_locks_himself_out(
    kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """An open TCP connection is cut by the new policy, and goes on by itself after the deadline, with nobody running.

    The process that loaded is killed right after the load.
    """
    del kernel
    everyone = "version: 1\nnever_drop: {}\nservices:\n  all: {default: DEFAULT, unknown: DEFAULT}\n"
    files = {}
    for word in ("allow", "deny"):
        files[word] = tmp_path / f"{word}.ruleset"
        files[word].write_bytes(packed(everyone.replace("DEFAULT", word), tmp_path, {"1.0.0.0/8": country("CN")}))
    with namespaces("edge", "net") as [edge, net], own_pins() as pins, edge.entered(), contextlib.ExitStack() as stack:
        join(End(edge, "edge0", ("192.0.2.1/24", "1.2.3.1/24")), End(net, "net0", ("1.2.3.4/24", "192.0.2.2/24")))
        monkeypatch.setattr(BothEngines, "here", lambda *_: BothEngines(NftablesEngine(), XdpEngine(pins=pins)))
        config = Config(engine=engine, interfaces=("edge0",), state=tmp_path / "state")
        with exclusive():
            apply_file(str(files["allow"]), config, engine, (), by_me("load"))
        server = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        )
        stack.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        with net.entered():
            client = stack.enter_context(socket.create_connection(("192.0.2.1", 22022), 60, ("1.2.3.4", 0)))
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        if (child := os.fork()) == 0:
            with exclusive():
                apply_file(str(files["deny"]), config, engine, (), by_me("load", "", 2))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        waits = Store(config.state).intent().confirm
        assert waits is not None
        client.sendall(b"b")
        assert client.recv(1) == b"b"
        assert monotonic() >= waits.deadline - TICKS
        assert BothEngines.here().observe().generation == 1
