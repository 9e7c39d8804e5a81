import asyncio
import os
from typing import Any

import pytest

from geodrop.config import Config
from geodrop.daemon.reload import Last, Reload
from geodrop.daemon.server import Peer, Request
from geodrop.daemon.verbs import CHANGING, VERBS, Verbs, may_change
from geodrop.daemon.watch.watch import Watch
from geodrop.errors import PrivilegeError, UsageError
from geodrop.report.pieces import Pieces
from geodrop.report.status import Running
from tests.daemons import parts

ROOT = Peer(1, 0, frozenset({0}))
STRANGER = Peer(1, 12_345, frozenset({12_345}))

READING = {"status", "counters", "verify", "explain", "history"}


def ask(
    verb: str,
    peer: Peer = ROOT,
    *,
    only_reading: bool = False,
    last: Last | None = None,
    doubt: str = "",
    **args: object,
) -> Any:  # noqa: ANN401 - as the verb has it
    """What the daemon answers to a request, nothing being loaded."""

    async def body() -> Any:  # noqa: ANN401 - as above
        made = parts()
        reload = Reload(Config(), made)
        reload.last, reload.doubt = last, doubt
        return await Verbs(reload, Watch(reload, made), made).answer(
            Request(verb, args, peer, only_reading, lambda _: None)
        )

    return asyncio.run(body())


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.kind == CHANGING])
def test_who_may_only_read_changes_nothing(verb: str) -> None:
    """Neither root through the socket for readers, nor a stranger who got hold of the other one."""
    with pytest.raises(PrivilegeError, match=f"{verb} changes things"):
        ask(verb, only_reading=True)
    with pytest.raises(PrivilegeError, match=f"{verb} changes things"):
        ask(verb, STRANGER)


def test_who_may_change() -> None:
    """Root, the service's own user, and members of its group."""
    assert may_change(ROOT)
    assert may_change(Peer(1, os.geteuid(), frozenset()))
    assert may_change(Peer(1, 12_345, frozenset({12_345, os.getegid()})))
    assert not may_change(STRANGER)


def test_every_other_verb_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the socket for readers they are answered."""
    monkeypatch.setattr("geodrop.daemon.verbs.read_counters", lambda: [{"service": "api"}])
    assert ask("counters", STRANGER, only_reading=True) == {"data": [{"service": "api"}]}
    assert {name for name, verb in VERBS.items() if verb.kind != CHANGING} == READING


def test_a_failed_reload_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status tells when and why, until a good one; a good one is told as well. Before any it tells what was assumed."""

    def told(_: Config, running: Running) -> dict[str, Any]:
        return {**running.fields, "problems": list(running.problems)}

    monkeypatch.setattr("geodrop.daemon.verbs.read_status", told)
    found = ask("status", last=Last(0.0, good=False, text="p.yaml:1:1: error: bad"))["data"]
    assert found["problems"] == ["the reload of 1970-01-01T00:00:00Z failed: p.yaml:1:1: error: bad"]
    found = ask("status", last=Last(0.0, good=True, text="generation 1 -> 2"))["data"]
    assert found["problems"] == []
    assert ask("status", doubt="without agent.yaml")["data"]["problems"] == ["without agent.yaml"]
    assert found["last_reload"] == {"time": "1970-01-01T00:00:00Z", "good": True, "text": "generation 1 -> 2"}


def test_wrong_arguments_are_refused() -> None:
    """Before anything is done (2): a command of another version asks, or somebody plays."""
    for verb, args in (("fly", {}), ("verify", {"full": "yes"}), ("status", {"x": 1}), ("history", {"count": -5})):
        with pytest.raises(UsageError):
            ask(verb, **args)


def test_one_long_read_of_a_user_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """His others wait without taking anything, and those of another user go on meanwhile."""
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
        made = parts()
        reload = Reload(Config(), made)
        verbs = Verbs(reload, Watch(reload, made), made)
        requests = [
            Request("verify", {"full": True}, Peer(1, uid, frozenset()), True, lambda _: None)  # noqa: FBT003 - a record
            for uid in (1, 1, 1, 1, 2)
        ]
        assert await asyncio.gather(*map(verbs.answer, requests)) == [{"data": {"full": True}}] * 5

    asyncio.run(body())
    assert open_at_once["most"] == 2
