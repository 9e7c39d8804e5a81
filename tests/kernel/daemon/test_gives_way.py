# SPDX-License-Identifier: Apache-2.0
"""Break glass during a reload: what was decided after the reload was asked for stays, in each phase of a reload for a
person, for the watch or for a start.

The daemon's parts run in this process, so that a reload can be held in a phase. The compiler is left out: a reload here
wants a prebuilt ruleset.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest
import structlog
from structlog.testing import capture_logs

from geodrop.config import load_config
from geodrop.daemon import reload, run
from geodrop.daemon.run import Daemon
from geodrop.daemon.server import ControlRequest, Peer
from geodrop.daemon.source import Made, Maker
from geodrop.dataplane.both import BothEngines
from geodrop.engine import underway
from geodrop.errors import BusyError, GeodropError
from geodrop.operations.change import by_me
from geodrop.operations.compact import compact
from geodrop.operations.load import apply_file, remove_all
from geodrop.ruleset.model import Ruleset
from geodrop.state.lock import exclusive
from geodrop.state.store import Store
from tests.support.cli import TIMEOUT
from tests.support.waiting import until
from tests.support.worlds import HEAD, packed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from geodrop.config import Config
    from tests.support.namespaces import Namespace

Phase = Literal["reading", "compiling", "judging", "loading"]
Origin = Literal["person", "watch", "start"]

PHASES: tuple[Phase, ...] = ("reading", "compiling", "judging", "loading")
ORIGINS: tuple[Origin, ...] = ("person", "watch", "start")
CODES = ("CN", "RU", "US")
HOUR = 3_600


@dataclass
class Hold:
    """Where a reload waits until it is let go: only the first one that comes there."""

    phase: Phase
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def at(self, phase: Phase) -> None:
        """Called in each phase."""
        if phase == self.phase and not self.reached.is_set():
            self.reached.set()
            assert self.go.wait(TIMEOUT)


class Held:
    """A daemon with CN loaded, then RU, whose reloads want US and wait in a phase."""

    def __init__(self, folder: Path, rulesets: dict[str, Ruleset], hold: Hold) -> None:
        self.config_path = str(folder / "agent.yaml")
        (folder / "agent.yaml").write_text(
            f"engine: nftables\ninterfaces: [lo]\nstate: {folder / 'state'}\nwatch: true\n"
        )
        self.config: Config = load_config(self.config_path)
        self.rulesets, self.hold = rulesets, hold
        self.daemon = Daemon(self.config_path, self.config)
        for code in ("CN", "RU"):
            self.load(code)

    def load(self, code: str, within: int = 0) -> None:
        """Load a ruleset, as a reload that is over."""
        apply_file(self.rulesets[code], self.config, "nftables", (), by_me("reload", confirm_within=within))

    async def ask(self, verb: str, **args: Any) -> str:  # noqa: ANN401 - arguments of a verb
        """Ask as root does on the control socket; return the text of the answer."""
        request = ControlRequest(verb, args, Peer(1, 0, frozenset()), only_reading=False, say=lambda _: None)
        return str((await self.daemon._verbs.answer(request)).get("text", ""))

    async def reload(self, origin: Origin = "person") -> str:
        """Reload as a person, the watch or a start does; return how it ended. Raises GeodropError for a person."""
        match origin:
            case "person":
                return await self.ask("reload", accept="", ssh="", confirm_within=None, why="")
            case "watch":
                await self.daemon._reload_quietly(watches=True)
            case "start":
                await self.daemon._enforce()
        last = self.daemon._reload.last
        return last.text if last else ""

    def in_force(self) -> str:
        """Return which ruleset the kernel holds."""
        digest = BothEngines.here().observe().digest
        return next((code for code, one in self.rulesets.items() if one.digest == digest), "")


@pytest.fixture(scope="module")
def rulesets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ruleset]:
    """Return rulesets that each deny one country."""
    folder, made = tmp_path_factory.mktemp("rulesets"), {}
    for code in CODES:
        path = folder / f"{code}.ruleset"
        path.write_bytes(packed(f"{HEAD}    default: allow\n    unknown: allow\n    deny: [{code}]\n", folder))
        made[code] = Ruleset.open(path)
    return made


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch, rulesets: dict[str, Ruleset]) -> Hold:
    """Have reloads pass through a place where they can be held; its phase is to be set."""
    made = Hold("compiling")
    begun = threading.Event()
    wanted_config, go_on = reload.wanted_config, underway.go_on

    def read(context: Any) -> Any:  # noqa: ANN401 - as wanted_config has it
        made.at("reading")
        return wanted_config(context)

    def compiled(maker: Maker, config: Config) -> Made:
        del maker, config
        made.at("compiling")
        begun.set()
        return Made(rulesets["US"])

    def step() -> None:
        if begun.is_set():
            made.at("loading")
        go_on()

    monkeypatch.setattr(run, "open_log", structlog.get_logger)
    monkeypatch.setattr(underway._Here, "urgent", [])
    monkeypatch.setattr(reload, "wanted_config", read)
    monkeypatch.setattr(Maker, "make", compiled)
    monkeypatch.setattr(Maker, "compare", lambda *_: None)
    monkeypatch.setattr(Maker, "wait", lambda *_: None)
    monkeypatch.setattr(reload, "refuse_held", lambda *_: made.at("judging"))
    monkeypatch.setattr(underway, "go_on", step)
    return made


@pytest.fixture
def held(netns: Namespace, tmp_path: Path, rulesets: dict[str, Ruleset], hold: Hold) -> Iterator[Held]:
    """Return a daemon whose reloads can be held."""
    del netns
    with exclusive(), capture_logs():
        yield Held(tmp_path, rulesets, hold)
        hold.go.set()


async def during(held: Held, origin: Origin, decide: Callable[[], Awaitable[object]]) -> str | BaseException:
    """Decide while a reload is held; return how the reload ended. Only in the last phase a decision may wait."""
    reloading = asyncio.ensure_future(held.reload(origin))
    assert await asyncio.to_thread(held.hold.reached.wait, TIMEOUT)
    deciding = asyncio.ensure_future(decide())
    if held.hold.phase == "loading":
        waiting = held.daemon._kernel_worker._jobs
        await asyncio.to_thread(until, lambda: not waiting.empty())
    else:
        await deciding
    held.hold.go.set()
    await deciding
    [ended] = await asyncio.gather(reloading, return_exceptions=True)
    return ended


GLASS: dict[str, tuple[str, dict[str, Any]]] = {
    "unload": ("unload", {}),
    "rollback": ("rollback", {"back": 1}),
    "rollback to a generation": ("rollback", {"back": 1, "generation": 1}),
}


TIMES: list[tuple[str, Phase, Origin]] = [
    *((("unload", phase, origin)) for phase in PHASES for origin in ORIGINS),
    *(("rollback", "compiling", origin) for origin in ORIGINS),
    ("rollback", "reading", "person"),
    ("rollback", "judging", "watch"),
    ("rollback", "loading", "start"),
    ("rollback to a generation", "compiling", "person"),
]


@pytest.mark.parametrize(("glass", "phase", "origin"), TIMES)
def test_what_was_decided_later_stays(held: Held, glass: str, phase: Phase, origin: Origin) -> None:
    """Until a person asks for a reload again: then that one wins. Neither the watch nor a start touches it before.

    Only a rollback waits for a load that has begun already, and then goes back from that.
    """
    held.hold.phase = phase
    verb, args = GLASS[glass]
    waits = phase == "loading" and verb == "rollback"

    async def body() -> None:
        ended = await during(held, origin, lambda: held.ask(verb, **args))
        if origin == "person" and not waits:
            assert isinstance(ended, BusyError), ended
        assert f"geodrop {verb}" in str(ended) or waits
        stays = "" if verb == "unload" else "RU" if waits and glass == "rollback" else "CN"
        assert held.in_force() == stays
        for later in ("watch", "start"):
            await held.reload(later)
            intent = Store(held.config.state).intent()
            assert (held.in_force(), intent.unloaded, intent.rolled_back) == (stays, not stays, bool(stays))
        assert "-> " in await held.reload()
        assert held.in_force() == "US"

    asyncio.run(body())


@pytest.mark.parametrize("phase", ["reading", "compiling", "judging"])
def test_a_confirmed_load_stays(held: Held, phase: Phase) -> None:
    """A reload of another policy that was asked for in the window does not replace what was confirmed meanwhile."""
    held.load("CN", HOUR)
    held.hold.phase = phase

    async def body() -> None:
        ended = await during(held, "person", lambda: held.ask("confirm", digest=""))
        assert isinstance(ended, BusyError)
        assert "gives way to `geodrop confirm`" in str(ended)
        assert held.in_force() == "CN"
        assert Store(held.config.state).intent().confirm is None
        await held.reload()
        assert held.in_force() == "US"

    asyncio.run(body())


def test_a_load_that_was_undone_stays_undone(held: Held) -> None:
    """A reload of a load on trial, asked for in its window, does not put it in force for good after the deadline."""
    held.load("US", 1)

    async def deadline() -> None:
        window = BothEngines.here().observe().window
        assert window is not None
        await asyncio.to_thread(until, lambda: (now := BothEngines.here().observe().window) is None or now.over)

    async def body() -> None:
        ended = await during(held, "person", deadline)
        assert isinstance(ended, BusyError)
        assert "gives way to the undo of generation 3" in str(ended)
        assert held.in_force() == "RU"

    asyncio.run(body())


def test_upkeep_and_a_pause_decide_nothing(held: Held) -> None:
    """A repair, a compaction, a pause, its end and a refused rollback leave a reload to its way."""

    async def between() -> None:
        await held.ask("pause", until=4_000_000_000, why="")
        await held.ask("resume")
        await held.daemon._kernel_worker.do(lambda: compact(held.config))
        await held.daemon._kernel_worker.do(lambda: run.take_over(held.config))
        with pytest.raises(GeodropError):
            await held.ask("rollback", back=400)

    async def body() -> None:
        assert "-> " in str(await during(held, "person", between))
        assert held.in_force() == "US"

    asyncio.run(body())


def test_each_counts_from_when_it_was_asked_for(held: Held) -> None:
    """A reload that waits for another one gives way as that one does; one that was asked for after an unload wins.

    Also the second unload of two is a decision, although it changes nothing.
    """

    async def body() -> None:
        first = asyncio.ensure_future(held.reload())
        assert await asyncio.to_thread(held.hold.reached.wait, TIMEOUT)
        second = asyncio.ensure_future(held.reload())
        await asyncio.sleep(0)
        await held.ask("unload")
        held.hold.go.set()
        ended = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(one) for one in ended] == [BusyError, BusyError]
        held.hold.go.clear()
        held.hold.reached.clear()
        assert isinstance(await during(held, "person", lambda: held.ask("unload")), BusyError)
        assert not held.in_force()
        held.hold.go.clear()
        held.hold.reached.clear()
        first = asyncio.ensure_future(held.reload())
        assert await asyncio.to_thread(held.hold.reached.wait, TIMEOUT)
        await held.ask("unload")
        second = asyncio.ensure_future(held.reload())
        await asyncio.sleep(0)
        held.hold.go.set()
        ended = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(ended[0], BusyError)
        assert "-> " in str(ended[1])
        assert held.in_force() == "US"

    asyncio.run(body())


def test_an_unload_before_a_start_has_taken_over(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verbs are answered before the last good ruleset is loaded: it then is not."""
    take_over = run.take_over

    def late(config: Config) -> object:
        remove_all(config, by_me("unload"))
        return take_over(config)

    monkeypatch.setattr(run, "take_over", late)
    asyncio.run(held.daemon._enforce())
    assert not held.in_force()
    assert Store(held.config.state).intent().unloaded


def test_the_watch_waits_for_a_window_that_opens(held: Held) -> None:
    """A reload of the watch that waited behind one on trial neither sets its deadline again nor counts as failed."""

    async def body() -> None:
        held.load("US", HOUR)
        before = Store(held.config.state).intent()
        await held.reload("watch")
        assert Store(held.config.state).intent() == before
        assert held.daemon._reload.last is None
        assert not held.hold.reached.is_set()

    asyncio.run(body())
