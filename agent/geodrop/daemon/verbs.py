"""What the daemon answers on its control sockets: for each verb who may ask, and what is done."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from geodrop.daemon.worker import READ
from geodrop.dataplane.load import remove_all
from geodrop.dataplane.pause import pause, resume
from geodrop.dataplane.rollback import roll_back
from geodrop.errors import PrivilegeError, UsageError
from geodrop.report.counters import read_counters
from geodrop.report.explain import explain_loaded
from geodrop.report.history import read_history
from geodrop.report.status import Running, read_status
from geodrop.report.verify import read_verify
from geodrop.state.history import Asked, utc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from geodrop.daemon.parts import Parts
    from geodrop.daemon.reload import Reload
    from geodrop.daemon.server import Peer, Request
    from geodrop.daemon.watch.watch import Watch

MAX_ENTRIES = 500
"""Lines of history in an answer, each with its inputs; whoever may read the state directory gets all of them."""

MAX_ADDRESSES = 256
"""What one question may hold: an answer takes about 0.1 s, in which nothing else is done."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A handler gives the fields of the answer; `changes` tells who may ask."""

    handle: Callable[[Verbs, Request], Awaitable[Mapping[str, Any]]]
    changes: bool = False


class Verbs:
    """Answers requests, by what the daemon consists of."""

    def __init__(self, reload: Reload, watch: Watch, parts: Parts) -> None:
        self._reload = reload
        self._watch = watch
        self._engine = parts.engine
        self._log = parts.log

    async def answer(self, request: Request) -> Mapping[str, Any]:
        """The fields of the answer; raises UsageError, PrivilegeError, and what the verb does."""
        verb = VERBS.get(request.verb)
        if verb is None:
            raise UsageError(f"this daemon has no verb {request.verb!r}", "restart it, if geodrop was upgraded")
        if verb.changes:
            if request.only_reading or not may_change(request.peer):
                raise PrivilegeError(f"{request.verb} changes things", "run as root, or as a member of group geodrop")
            self._log.info("asked", verb=request.verb, uid=request.peer.uid, pid=request.peer.pid)
        return await verb.handle(self, request)

    async def read_status(self) -> dict[str, Any]:
        """The object of `status --json`."""
        problems = self._watch.problems()
        fields = self._watch.as_object()
        if last := self._reload.last:
            fields["last_reload"] = {"time": utc(last.time), "good": last.good, "text": last.text}
            if not last.good:
                problems.insert(0, f"the reload of {utc(last.time)} failed: {last.text}")
        running = Running(fields, tuple(problems))
        return await self._engine.do(partial(read_status, self._reload.config, running), READ)

    async def snapshot(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The objects of `status --json` and `counters --json`, for metrics."""
        return await self.read_status(), await self._engine.do(read_counters, READ)

    async def status(self, request: Request) -> Mapping[str, Any]:
        """What is in force, and what the daemon knows beyond it."""
        del request
        return {"data": await self.read_status()}

    async def counters(self, request: Request) -> Mapping[str, Any]:
        """Totals since the first load."""
        del request
        return {"data": await self._engine.do(read_counters, READ)}

    async def verify(self, request: Request) -> Mapping[str, Any]:
        """Kernel against ruleset."""
        full = _argument(request, "full", bool)
        return {"data": await self._engine.do(partial(read_verify, self._reload.config, full=full), READ)}

    async def explain(self, request: Request) -> Mapping[str, Any]:
        """A few addresses, of many that a command has."""
        addresses = _argument(request, "addresses", list)
        at = _argument(request, "at", (int, float, type(None)))
        if len(addresses) > MAX_ADDRESSES or not all(isinstance(text, str) for text in addresses):
            raise UsageError(f"explain takes up to {MAX_ADDRESSES} addresses as text")
        config = self._reload.config
        return {"data": await self._engine.do(lambda: list(explain_loaded(config, addresses, at)), READ)}

    async def reload(self, request: Request) -> Mapping[str, Any]:
        """Policy and databases anew."""
        outcome = await self._reload.ask(request.say, request.peer.uid)
        return {"text": outcome.text, "data": outcome.data, "warnings": outcome.warnings}

    async def unload(self, request: Request) -> Mapping[str, Any]:
        """Nothing of ours in the kernel until the next reload."""
        removed = await self._engine.do(partial(remove_all, self._reload.config, _asked(request)))
        self._watch.tally.forget()
        self._log.warning("unloaded on request: nothing is dropped any more")
        return {"data": {"removed": removed}}

    async def pause(self, request: Request) -> Mapping[str, Any]:
        """Drop nothing until a moment."""
        until = _argument(request, "until", int)
        done = await self._engine.do(partial(pause, self._reload.config, _asked(request), until))
        self._log.warning(done.text)
        return {"text": done.text}

    async def resume(self, request: Request) -> Mapping[str, Any]:
        """End a pause."""
        done = await self._engine.do(partial(resume, self._reload.config, _asked(request)))
        self._log.info(done.text)
        return {"text": done.text}

    async def rollback(self, request: Request) -> Mapping[str, Any]:
        """Go back to a policy that was in force before."""
        back, generation = _argument(request, "back", int), _argument(request, "generation", (int, type(None)))
        job = partial(roll_back, self._reload.config, _asked(request), back, generation, quick=True)
        done = await self._engine.do(job)
        self._reload.settle.soon()
        self._log.warning(done.text)
        return {"text": done.text}

    async def history(self, request: Request) -> Mapping[str, Any]:
        """What was in force when."""
        count = min(_argument(request, "count", int), MAX_ENTRIES)
        entries, problems = await self._engine.do(partial(read_history, self._reload.config, count), READ)
        return {"data": {"entries": entries, "problems": problems}}


VERBS = {
    "status": Verb(Verbs.status),
    "counters": Verb(Verbs.counters),
    "verify": Verb(Verbs.verify),
    "explain": Verb(Verbs.explain),
    "reload": Verb(Verbs.reload, changes=True),
    "unload": Verb(Verbs.unload, changes=True),
    "pause": Verb(Verbs.pause, changes=True),
    "resume": Verb(Verbs.resume, changes=True),
    "rollback": Verb(Verbs.rollback, changes=True),
    "history": Verb(Verbs.history),
}


def may_change(peer: Peer) -> bool:
    """Root, the service's own user and members of its group."""
    return peer.uid in (0, os.geteuid()) or os.getegid() in peer.groups


def _asked(request: Request) -> Asked:
    """Who asked, for the history."""
    why = request.args.get("why", "")
    return Asked(request.verb, request.peer.uid, why=why if isinstance(why, str) else "")


def _argument(request: Request, name: str, kind: type | tuple[type, ...]) -> Any:  # noqa: ANN401 - of that kind
    value = request.args.get(name)
    if not isinstance(value, kind):
        raise UsageError(f"{request.verb} was asked with a wrong `{name}`", "upgrade the command")
    return value
