# SPDX-License-Identifier: Apache-2.0
import asyncio
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from geodrop.config import Config
from geodrop.daemon.reload import Last
from geodrop.daemon.server import ControlRequest, Peer
from geodrop.daemon.verbs import CHANGING, VERBS, may_change
from geodrop.engine import underway
from geodrop.errors import BusyError, PrivilegeError, UsageError
from geodrop.report.pieces import Pieces
from geodrop.report.status import Running
from geodrop.state.intent import Intent
from tests.support.cli import TIMEOUT
from tests.support.daemons import daemon_context, verbs

ROOT = Peer(1, 0, frozenset({0}))
STRANGER = Peer(1, 12_345, frozenset({12_345}))

READING = {"plan", "status", "counters", "verify", "explain", "history", "exemptions"} | {
    "history_verify",
    "history_coverage",
}


def ask(
    verb: str,
    peer: Peer = ROOT,
    *,
    only_reading: bool = False,
    last: Last | None = None,
    doubt: str = "",
    missing: tuple[str, ...] = (),
    **args: object,
) -> Any:  # noqa: ANN401 - as the verb has it
    """Return the daemon's answer to a request, with nothing loaded."""

    async def body() -> Any:  # noqa: ANN401 - as above
        context = daemon_context()
        context.doubt, context.missing = doubt, missing
        return await verbs(context, last).answer(ControlRequest(verb, args, peer, only_reading, lambda _: None))

    return asyncio.run(body())


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.kind == CHANGING])
def test_who_may_only_read_changes_nothing(verb: str) -> None:
    """Neither root through the readers' socket, nor a stranger with access to the other one, can change anything."""
    with pytest.raises(PrivilegeError, match=f"{verb} changes things"):
        ask(verb, only_reading=True)
    with pytest.raises(PrivilegeError, match=f"{verb} changes things"):
        ask(verb, STRANGER)


def test_who_may_change() -> None:
    """Root, the service's own user, and members of its group may change things."""
    assert may_change(ROOT)
    assert may_change(Peer(1, os.geteuid(), frozenset()))
    assert may_change(Peer(1, 12_345, frozenset({12_345, os.getegid()})))
    assert not may_change(STRANGER)


def test_every_other_verb_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """All other verbs are answered through the readers' socket."""
    monkeypatch.setattr("geodrop.daemon.verbs.read_counters", lambda: [{"service": "api"}])
    assert ask("counters", STRANGER, only_reading=True) == {"data": [{"service": "api"}]}
    assert {name for name, verb in VERBS.items() if verb.kind != CHANGING} == READING


def test_a_failed_reload_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status reports a failed reload until a good one, which it reports too; before any, what was assumed.

    It reports also files that are missing.
    """

    def told(_: Config, running: Running) -> dict[str, Any]:
        return {**running.fields, "problems": list(running.problems)}

    monkeypatch.setattr("geodrop.daemon.verbs.read_status", told)
    found = ask("status", last=Last(0.0, good=False, text="p.yaml:1:1: error: bad"))["data"]
    assert found["problems"] == ["the reload of 1970-01-01T00:00:00Z failed: p.yaml:1:1: error: bad"]
    found = ask("status", last=Last(0.0, good=True, text="generation 1 -> 2"))["data"]
    assert found["problems"] == []
    assert ask("status", doubt="without agent.yaml")["data"]["problems"] == ["without agent.yaml"]
    assert ask("status", missing=("a.sig is missing",))["data"]["problems"] == ["a.sig is missing"]
    assert found["last_reload"] == {"time": "1970-01-01T00:00:00Z", "good": True, "text": "generation 1 -> 2"}


def test_wrong_arguments_are_refused() -> None:
    """Wrong arguments, from another version or a hostile client, are refused before anything is done (2)."""
    for verb, args in (("fly", {}), ("verify", {"full": "yes"}), ("status", {"x": 1}), ("history", {"count": -5})):
        with pytest.raises(UsageError):
            ask(verb, **args)


def test_one_long_read_of_a_user_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further long reads of a user wait without occupying a thread, and those of another user go on."""
    open_at_once: dict[str, int] = {"most": 0, "now": 0}

    def read_verify(_: Config, *, full: bool) -> Pieces[dict[str, bool]]:
        open_at_once["now"] += 1
        open_at_once["most"] = max(open_at_once["most"], open_at_once["now"])
        yield
        yield
        open_at_once["now"] -= 1
        return {"full": full}

    monkeypatch.setattr("geodrop.daemon.verbs.read_verify", read_verify)

    async def body() -> None:
        context = daemon_context()
        answering = verbs(context)
        requests = [
            ControlRequest("verify", {"full": True}, Peer(1, uid, frozenset()), True, lambda _: None)  # noqa: FBT003 - a record
            for uid in (1, 1, 1, 1, 2)
        ]
        assert await asyncio.gather(*map(answering.answer, requests)) == [{"data": {"full": True}}] * 5

    asyncio.run(body())
    assert open_at_once["most"] == 2


QUESTIONS: dict[str, dict[str, Any]] = {
    "status": {},
    "counters": {},
    "verify": {"full": True},
    "explain": {"addresses": ["1.0.0.1"]},
    "history": {"count": 1},
}


@pytest.mark.parametrize("verb", QUESTIONS)
def test_who_reads_waits_for_no_change(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """Each read and each scrape is answered while the thread that changes things is busy, whatever its job."""

    def pieces(*_: Any, **__: Any) -> Pieces[Any]:  # noqa: ANN401 - of any of them
        yield
        return [], []

    for name in ("read_verify", "explain_some", "read_history"):
        monkeypatch.setattr(f"geodrop.daemon.verbs.{name}", pieces)
    for name in ("read_status", "read_counters"):
        monkeypatch.setattr(f"geodrop.daemon.verbs.{name}", lambda *_: {})

    async def body() -> None:
        context, hold = daemon_context(), threading.Event()
        answering = verbs(context)
        running = context.kernel_worker.start(hold.wait)
        request = ControlRequest(verb, QUESTIONS[verb], ROOT, False, lambda _: None)  # noqa: FBT003 - a record
        await asyncio.wait_for(answering.answer(request), TIMEOUT)
        await asyncio.wait_for(answering.snapshot(), TIMEOUT)
        assert not running.done()
        hold.set()
        await running

    asyncio.run(body())


def test_a_short_question_waits_for_no_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a piece of `verify --full` takes, `status` is answered meanwhile."""
    hold = threading.Event()

    def read_verify(_: Config, *, full: bool) -> Pieces[bool]:
        hold.wait()
        yield
        return full

    monkeypatch.setattr("geodrop.daemon.verbs.read_verify", read_verify)
    monkeypatch.setattr("geodrop.daemon.verbs.read_status", lambda *_: {"state": "enforcing"})

    async def body() -> None:
        context = daemon_context()
        answering = verbs(context)
        long, short = (
            ControlRequest(verb, QUESTIONS[verb], ROOT, only_reading=False, say=lambda _: None)
            for verb in ("verify", "status")
        )
        reading = asyncio.ensure_future(answering.answer(long))
        await asyncio.wait_for(answering.answer(short), TIMEOUT)
        assert not reading.done()
        hold.set()
        await reading

    asyncio.run(body())


@pytest.mark.parametrize(("verb", "does"), [("pause", "pause"), ("unload", "remove_all")])
def test_the_glass_is_broken_before_what_waits(monkeypatch: pytest.MonkeyPatch, verb: str, does: str) -> None:
    """A load under way is told to give up, and requests made earlier come after the break-glass verb."""
    done: list[str] = []

    def break_glass(*_: Any) -> Any:  # noqa: ANN401 - what both of them give
        with underway.making("reload", 1, Intent()):  # the load that was told to give up has ended by now
            done.append(verb)
        return SimpleNamespace(text="", warnings=(), removed=True)

    monkeypatch.setattr(f"geodrop.daemon.verbs.{does}", break_glass)

    def load() -> None:
        with underway.making("reload", 1, Intent()):
            loading.set()
            while True:
                underway.go_on()

    loading = threading.Event()

    async def body() -> None:
        context = daemon_context()
        answering = verbs(context)
        running = context.kernel_worker.start(load)
        assert await asyncio.to_thread(loading.wait, TIMEOUT)
        waiting = context.kernel_worker.start(lambda: done.append("another change"))
        arguments = {"until": 1} if verb == "pause" else {}
        await asyncio.wait_for(
            answering.answer(ControlRequest(verb, arguments, ROOT, False, lambda _: None)),  # noqa: FBT003 - a record
            TIMEOUT,
        )
        with pytest.raises(BusyError, match=f"given up, because `geodrop {verb}` was called"):
            await running
        await waiting

    asyncio.run(body())
    assert done == [verb, "another change"]
