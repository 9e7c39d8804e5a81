# SPDX-License-Identifier: Apache-2.0
"""Answer the verbs of the control sockets: who may use each, and what it does."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from geodrop import utc
from geodrop.daemon.arguments import (
    ACCEPTED,
    ADDRESS,
    ADDRESSES,
    BEGINNING,
    COUNT,
    END,
    FLAG,
    GENERATION,
    HEADS,
    MOMENT,
    SECONDS,
    SSH_CONNECTION,
    WHY,
    WITHIN,
    checked,
    optional,
)
from geodrop.daemon.event import Event
from geodrop.daemon.gate import Asker
from geodrop.daemon.planning import compile_for_plan, plan_in_pieces
from geodrop.daemon.worker import OWN, PAUSE, READ, UNLOAD, VISIT
from geodrop.engine import underway
from geodrop.errors import PrivilegeError, UsageError
from geodrop.operations.confirm import confirm
from geodrop.operations.exempt import end, exempt
from geodrop.operations.load import remove_all
from geodrop.operations.pause import pause, resume
from geodrop.operations.rollback import roll_back
from geodrop.report.chain import read_chain
from geodrop.report.counters import read_counters
from geodrop.report.coverage import read_coverage_of_time
from geodrop.report.exempt import read_exemptions
from geodrop.report.explain import explain_some
from geodrop.report.history import read_history
from geodrop.report.status import Running, read_status
from geodrop.report.verify import read_verify
from geodrop.state.asker import user_of
from geodrop.state.entry import ChangeRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from geodrop.daemon.arguments import Argument
    from geodrop.daemon.compaction import Compaction
    from geodrop.daemon.context import DaemonContext
    from geodrop.daemon.reload import Reload
    from geodrop.daemon.server import ControlRequest, Peer
    from geodrop.daemon.watch.watch import Watch
    from geodrop.operations.exempt import ExemptDone
    from geodrop.report.pieces import Pieces

T = TypeVar("T")

MAX_ENTRIES = 500
"""Lines of history in an answer, each with its inputs; a process that can read the state directory may read all."""

MAX_GAPS = 20_000
"""Gaps in an answer, some 300 bytes each; for a process that can read the state directory as for MAX_ENTRIES."""

CHANGING, READING, LONG = "changing", "reading", "long"
"""Kinds of verbs. LONG ones read for longer than a user who changes something should wait."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: `handle` returns the fields of the answer to a request whose `arguments` were checked."""

    handle: Callable[[Verbs, ControlRequest], Awaitable[Mapping[str, Any]]]
    kind: str = READING
    arguments: Mapping[str, Argument] = field(default_factory=dict)


class Verbs:
    """Answers requests with the parts of the daemon."""

    def __init__(self, context: DaemonContext, reload: Reload, watch: Watch, compaction: Compaction) -> None:
        self._context, self._reload, self._watch, self._compaction = context, reload, watch, compaction
        self._kernel_worker, self._log = context.kernel_worker, context.log
        self._reading_long: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One long read at a time for each user: the next waits without occupying a thread."""

    async def answer(self, request: ControlRequest) -> Mapping[str, Any]:
        """Return the fields of the answer. Raises UsageError, PrivilegeError, and what the verb raises."""
        verb = VERBS.get(request.verb)
        if verb is None:
            raise UsageError(f"this daemon has no verb {request.verb[:40]!r}", "restart it, if geodrop was upgraded")
        if verb.kind == CHANGING:
            if request.only_reading or not may_change(request.peer):
                raise PrivilegeError(f"{request.verb} changes things", "run as root, or as a member of group geodrop")
            sudo = {"sudo_user": request.sudo_user} if request.sudo_user else {}
            peer = request.peer
            self._log.info("asked", kind=Event.ASKED, verb=request.verb, uid=peer.uid, pid=peer.pid, **sudo)
        args = checked(request.verb, verb.arguments, request.args)
        return await verb.handle(self, replace(request, args=args))

    async def read_status(self, request: ControlRequest | None = None) -> dict[str, Any]:
        """Return the object of `status --json`, for a request or, without one, for metrics."""
        problems = [*self._watch.problems(), *self._context.missing, *self._context.tasks.problems()]
        fields = {**self._watch.as_object(), "held": list(self._reload.held)}
        if last := self._reload.last:
            fields["last_reload"] = {"time": utc.moment(last.time), "good": last.good, "text": last.text}
            if self._reload.held:
                problems.insert(0, f"{last.text} (reload of {utc.moment(last.time)})")
            elif not last.good:
                problems.insert(0, f"the reload of {utc.moment(last.time)} failed: {last.text}")
        elif self._context.doubt:
            problems.insert(0, self._context.doubt)
        running = Running(fields, tuple(problems))
        return await self._read(lambda: read_status(self._context.config, running), request)

    async def snapshot(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the objects of `status --json` and `counters --json`, for metrics."""
        return await self.read_status(), await self._read(read_counters)

    async def status(self, request: ControlRequest) -> Mapping[str, Any]:
        """Return what is in force, and what the daemon knows beyond it."""
        return {"data": await self.read_status(request)}

    async def counters(self, request: ControlRequest) -> Mapping[str, Any]:
        """Return totals since the first load."""
        return {"data": await self._read(read_counters, request)}

    async def verify(self, request: ControlRequest) -> Mapping[str, Any]:
        """Compare the kernel with the ruleset."""
        return {"data": await self._read_long(read_verify(self._context.config, **request.args), request)}

    async def explain(self, request: ControlRequest) -> Mapping[str, Any]:
        """Explain some of the addresses that a command was given."""
        return {"data": await self._read_long(explain_some(self._context.config, **request.args), request)}

    async def plan(self, request: ControlRequest) -> Mapping[str, Any]:
        """Say what a reload would change."""
        async with self._reading_long[request.peer.uid]:
            with self._context.tasks.failing("plan"):
                planned = await compile_for_plan(self._context, self._reload.maker)
        pieces = plan_in_pieces(planned, request.args["ssh"])
        return {"data": await self._read_long(pieces, request), "warnings": planned.made.warnings}

    async def reload(self, request: ControlRequest) -> Mapping[str, Any]:
        """Read policy and databases again and load the result."""
        asker = Asker(_asked(request), request.args["accept"], request.args["ssh"])
        outcome = await self._reload.ask(request.say, asker)
        return {"text": outcome.text, "data": outcome.data, "warnings": outcome.warnings}

    async def unload(self, request: ControlRequest) -> Mapping[str, Any]:
        """Remove everything of ours from the kernel until the next reload."""
        done = await self._at_once(lambda: remove_all(self._context.config, _asked(request)), UNLOAD, "unload")
        self._watch.tally.forget()
        self._log.warning("unloaded on request: nothing is dropped any more", kind=Event.UNLOADED)
        return {"data": {"removed": done.removed}, "warnings": list(done.warnings)}

    async def pause(self, request: ControlRequest) -> Mapping[str, Any]:
        """Drop nothing until a moment."""
        until = request.args["until"]
        done = await self._at_once(lambda: pause(self._context.config, _asked(request), until), PAUSE, "pause")
        self._compaction.schedule()
        self._log.warning(done.text, kind=Event.PAUSED)
        return {"text": done.text, "warnings": list(done.warnings)}

    async def resume(self, request: ControlRequest) -> Mapping[str, Any]:
        """End a pause."""
        done = await self._kernel_worker.do(partial(resume, self._context.config, _asked(request)))
        self._compaction.schedule()
        self._log.info(done.text, kind=Event.RESUMED)
        return {"text": done.text, "warnings": list(done.warnings)}

    async def exempt(self, request: ControlRequest) -> Mapping[str, Any]:
        """Let a source pass for a limited time."""
        source, seconds = request.args["source"], request.args["seconds"]
        user = request.sudo_user or user_of(request.peer.uid)
        job = partial(exempt, self._context.config, _asked(request), source, seconds, user)
        return self._exempted(await self._kernel_worker.do(job))

    async def exempt_end(self, request: ControlRequest) -> Mapping[str, Any]:
        """End an exemption before its time."""
        asked = replace(_asked(request), origin="exempt")
        return self._exempted(
            await self._kernel_worker.do(partial(end, self._context.config, asked, request.args["source"]))
        )

    async def exemptions(self, request: ControlRequest) -> Mapping[str, Any]:
        """Return who is exempt."""
        return {"data": await self._read(lambda: read_exemptions(self._context.config), request)}

    def _exempted(self, done: ExemptDone) -> Mapping[str, Any]:
        self._log.warning(done.text, kind=Event.EXEMPTED)
        return {"text": done.text, "warnings": list(done.warnings)}

    async def rollback(self, request: ControlRequest) -> Mapping[str, Any]:
        """Go back to a policy that was in force before."""
        back, generation = request.args["back"], request.args["generation"]
        job = partial(roll_back, self._context.config, _asked(request), back, generation, quick=True)
        done = await self._kernel_worker.do(job)
        self._compaction.schedule()
        self._log.warning(done.text, kind=Event.ROLLED_BACK)
        return {"text": done.text, "warnings": list(done.warnings)}

    async def confirm(self, request: ControlRequest) -> Mapping[str, Any]:
        """Keep the load that waits to be confirmed."""
        done = await self._kernel_worker.do(
            partial(confirm, self._context.config, _asked(request), request.args["digest"])
        )
        self._compaction.schedule()
        self._log.info(done.text, kind=Event.CONFIRMED)
        return {"text": done.text, "warnings": list(done.warnings)}

    async def history(self, request: ControlRequest) -> Mapping[str, Any]:
        """Return what was in force when."""
        count = min(request.args["count"], MAX_ENTRIES)
        entries, problems = await self._read_long(read_history(self._context.config, count), request)
        return {"data": {"entries": entries, "problems": problems}}

    async def history_verify(self, request: ControlRequest) -> Mapping[str, Any]:
        """Return whether the history is as it was written."""
        return {"data": await self._read_long(read_chain(self._context.config, request.args["heads"]), request)}

    async def history_coverage(self, request: ControlRequest) -> Mapping[str, Any]:
        """Return for how long each line of the policy was in force."""
        work = read_coverage_of_time(self._context.config, request.args["since"], MAX_GAPS)
        lines, problems = await self._read_long(work, request)
        return {"data": {"lines": lines, "problems": problems}}

    async def _at_once(self, job: Callable[[], T], priority: int, what: str) -> T:
        """Run a break-glass job ahead of all others; work under way that can be abandoned is abandoned."""

        def begin() -> T:
            underway.begin(what)
            return job()

        underway.give_up(what)
        return await self._kernel_worker.do(begin, priority)

    async def _read(self, job: Callable[[], T], request: ControlRequest | None = None) -> T:
        """Read something short, in the turn of the asking user; without a request, for the daemon itself."""
        if request is None:
            return await self._context.reader.do(job, OWN)
        return await self._context.reader.read(job, _priority(request), request.peer.uid)

    async def _read_long(self, work: Pieces[T], request: ControlRequest) -> T:
        """Read something long, piece by piece, in the turn of the asking user; each user has one such read at once."""
        async with self._reading_long[request.peer.uid]:
            return await self._context.long_reader.read_long(work, _priority(request), request.peer.uid)


VERBS = {
    "status": Verb(Verbs.status),
    "counters": Verb(Verbs.counters),
    "verify": Verb(Verbs.verify, LONG, {"full": FLAG}),
    "explain": Verb(Verbs.explain, LONG, {"addresses": ADDRESSES, "at": optional(MOMENT), "details": optional(FLAG)}),
    "plan": Verb(Verbs.plan, LONG, {"ssh": SSH_CONNECTION}),
    "history": Verb(Verbs.history, LONG, {"count": COUNT}),
    "history_verify": Verb(Verbs.history_verify, LONG, {"heads": HEADS}),
    "history_coverage": Verb(Verbs.history_coverage, LONG, {"since": optional(MOMENT)}),
    "reload": Verb(
        Verbs.reload, CHANGING, {"accept": ACCEPTED, "ssh": SSH_CONNECTION, "confirm_within": WITHIN, "why": WHY}
    ),
    "confirm": Verb(Verbs.confirm, CHANGING, {"digest": BEGINNING, "why": WHY}),
    "unload": Verb(Verbs.unload, CHANGING, {"why": WHY}),
    "pause": Verb(Verbs.pause, CHANGING, {"until": END, "why": WHY}),
    "resume": Verb(Verbs.resume, CHANGING, {"why": WHY}),
    "exempt": Verb(Verbs.exempt, CHANGING, {"source": ADDRESS, "seconds": SECONDS, "why": WHY}),
    "exempt_end": Verb(Verbs.exempt_end, CHANGING, {"source": ADDRESS, "why": WHY}),
    "exemptions": Verb(Verbs.exemptions),
    "rollback": Verb(Verbs.rollback, CHANGING, {"back": COUNT, "generation": optional(GENERATION), "why": WHY}),
}


def kind_of(verb: str) -> str:
    """Return the kind of a verb; an unknown verb counts as reading, since its answer is an error."""
    return VERBS[verb].kind if verb in VERBS else READING


def may_change(peer: Peer) -> bool:
    """Whether the peer is root, the service's own user or a member of its group."""
    return peer.uid in (0, os.geteuid()) or os.getegid() in peer.groups


def _priority(request: ControlRequest) -> int:
    return VISIT if request.only_reading or not may_change(request.peer) else READ


def _asked(request: ControlRequest) -> ChangeRequest:
    """Return the change request for the history."""
    why = request.args.get("why", "")
    within = request.args.get("confirm_within") or 0
    return ChangeRequest(request.verb, request.peer.uid, why=why, sudo_user=request.sudo_user, confirm_within=within)
