# SPDX-License-Identifier: Apache-2.0
"""Load a ruleset into both engines, each on the interfaces that `placement` gives it, in one generation.

    stage     both engines fill and check the generation beside the one in force; xdp is attached where it will judge
    switch    xdp publishes, then nftables replaces its rules, which now accept what xdp judges
    finish    what is old is removed, with the links of interfaces that nftables has taken over

An interface that moves may for a moment be judged by both engines, each time by a whole generation, but never by none.
A failure restores both engines. A crash leaves the old or the new generation on each interface; the next load repairs
that.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.dataplane.coverage import judged
from geodrop.dataplane.placement import place
from geodrop.engine import underway
from geodrop.engine.api import ApplyReport, Interface
from geodrop.errors import ApplyError, PrivilegeError, UnavailableError
from geodrop.linux import clock
from geodrop.linux.capabilities import XDP, missing
from geodrop.linux.network import Network
from geodrop.nftables.netlink.connection import RefusedError
from geodrop.xdp.requirements import unreadable, unsupported_reason

if TYPE_CHECKING:
    from geodrop.dataplane.both import BothEngines
    from geodrop.dataplane.placement import Placement
    from geodrop.engine.api import Undo
    from geodrop.engine.interfaces import Selection
    from geodrop.nftables.bases import Kept
    from geodrop.nftables.engine import StagedGeneration as OnNftables
    from geodrop.nftables.transactions import Totals
    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.staged import StagedPrograms as OnXdp

IPSEC = "IPsec is in use, and xdp never sees what ESP holds"


def apply(  # noqa: PLR0913, PLR0917 - what, where, by which engine, how
    engines: BothEngines,
    ruleset: Ruleset,
    generation: int,
    selection: Selection,
    engine: str,
    kept: Kept | None = None,
    counter_totals: Totals | None = None,
    undo: Undo | None = None,
    lasting: int = 0,
) -> ApplyReport:
    """Make both engines match a ruleset under `engine`: nftables, xdp or auto. A named engine is never replaced.

    The generation may be the one in force, if it was verified to hold this ruleset. Then nothing is filled again; links
    and rules change only for interfaces that came, went or were refused. With `kept`, which finds rulesets by digest,
    the generation may be an overlay on nftables (see nftables.overlay). Its lost counters continue from
    `counter_totals`.

    With `undo` the generation is not confirmed: on both engines it is in force until the deadline, and then what `undo`
    names. A deadline of 0 means `lasting` nanoseconds from the switch. The report has the deadline.

    Raises ApplyError, UnavailableError, PrivilegeError, ConfigError or DataError; nothing is changed then.
    """
    with ExitStack() as stack:
        change = _Change(stack, engines, ruleset, generation, kept, counter_totals, undo)
        unreadable = {} if engine == "nftables" else _unreadable(selection, engine)
        refused_as = {name: error.message for name, error in unreadable.items()}
        with underway.filling():
            if engine != "nftables":
                change.stage_xdp(engine, selection)
            plan = place(engine, selection, refused_as, change.unavailable)
            # If nftables is needed whatever xdp refuses, fill it before xdp is attached: filling takes longer than the
            # rest.
            change.stage_nftables(plan)
        if change.on_xdp:
            refused = unreadable | change.on_xdp.attach(plan.xdp)
            if engine == "xdp":
                _all_taken(selection, plan, refused)
            plan = place(engine, selection, {name: error.message for name, error in refused.items()})
            change.stage_nftables(plan)
        _refuse_unjudged_ports(plan, selection, set(engines.xdp.attached()) if engines.xdp else set())
        deadline = undo and (undo.deadline or clock.monotonic() + lasting)
        change.switch(plan, deadline or 0)
    return replace(change.report(plan), deadline=deadline or 0)


def _unreadable(selection: Selection, engine: str) -> dict[str, UnavailableError]:
    """Return the interfaces whose packets xdp could not read. An explicit xdp is refused for the first of them."""
    found = {link.name: error for link in selection.present if (error := unreadable(link))}
    if engine == "xdp" and found:
        raise next(iter(found.values()))
    return found


def _refuse_unjudged_ports(plan: Placement, selection: Selection, attached: set[int]) -> None:
    """Raise UnavailableError if xdp now judges a port of a bridge, and no engine would judge it from now on.

    nftables sees a port's packets at its master, so a rule for the port matches nothing.
    """
    network = Network(selection.links)
    placed = [
        *(Interface(name, "xdp") for name in plan.xdp),
        *(Interface(name, "nftables") for name in plan.scope.names),
    ]
    left = judged(network, placed, plan.scope.elsewhere)
    for link in selection.present:
        if link.index in attached and link.index not in left:
            master = network.name_of(link.master)
            why = plan.scope.why.get(link.name, "engine: nftables is configured")
            raise UnavailableError(
                f"packets on {link.name} would no longer be judged: it is a port of {master}, where alone "
                f"nftables sees them, and xdp is not to judge them ({why}); nothing was changed",
                f"add {master} to `interfaces` in agent.yaml, or leave {link.name} to xdp",
            )


class _Change:
    """The staged generation of both engines, closed with `stack`. `unavailable` says why xdp cannot be used at all."""

    def __init__(  # noqa: PLR0913, PLR0917 - as `apply`
        self,
        stack: ExitStack,
        engines: BothEngines,
        ruleset: Ruleset,
        generation: int,
        kept: Kept | None,
        counter_totals: Totals | None,
        undo: Undo | None,
    ) -> None:
        self.unavailable = ""
        self.on_xdp: OnXdp | None = None
        self._on_nftables: OnNftables | None = None
        self._stack, self._engines, self._ruleset, self._generation = stack, engines, ruleset, generation
        self._kept, self._counter_totals, self._undo = kept, counter_totals, undo
        self._note = ""

    def stage_xdp(self, engine: str, selection: Selection) -> None:
        """Fill xdp. If it cannot be used and the engine is auto, set `unavailable` instead of failing."""
        if engine == "auto" and selection.ipsec is not False:
            self.unavailable = IPSEC if selection.ipsec else "it cannot be read whether IPsec is in use"
            return
        previous = self._undo and self._undo.ruleset
        if problem := unsupported_reason(self._ruleset) or (previous and unsupported_reason(previous)):
            if engine != "auto":
                raise problem
            self.unavailable = problem.message
            return
        try:
            xdp = self._engines.with_xdp()
            xdp.probe()
            self.on_xdp = self._stack.enter_context(xdp.staged(self._ruleset, self._generation, self._undo))
        except (UnavailableError, PrivilegeError) as error:
            if engine != "auto":
                raise
            lacking = missing(XDP)
            # Behind the first line may follow what the verifier said.
            said = error.message.partition("\n")[0]
            self.unavailable = f"xdp not installed ({', '.join(lacking)} missing)" if lacking else said

    def stage_nftables(self, plan: Placement) -> None:
        """Fill nftables if the plan needs it. If it would only guard future interfaces, its absence is no failure."""
        if self._on_nftables or not plan.scope.names:
            return
        staged = self._engines.nftables.staged(
            self._ruleset, self._generation, self._kept, self._counter_totals, self._undo
        )
        try:
            self._on_nftables = self._stack.enter_context(staged)
        except (UnavailableError, RefusedError) as error:
            # A load makes everything that it names, so ENOENT means that the kernel lacks that kind of rule.
            lacks = isinstance(error, UnavailableError) or error.errno == errno.ENOENT
            if not lacks or not plan.xdp or not plan.only_guards:
                raise
            self._note = f"nothing guards {', '.join(plan.scope.names)} until the next load: {error.message}"

    def switch(self, plan: Placement, deadline: int = 0) -> None:
        """Put the new generation in force, xdp first: nftables still judges what it will accept afterwards."""
        if self.on_xdp and plan.xdp:
            self.on_xdp.switch(plan.xdp, deadline)
        if self._on_nftables:
            self._on_nftables.switch(plan.scope, deadline)
        else:
            # Without nf_tables, or if the table is not ours, there is nothing to retire.
            with suppress(UnavailableError):
                self._engines.nftables.retire()

    def report(self, plan: Placement) -> ApplyReport:
        """Retire xdp if it judges nothing any more, and return what was done."""
        unreleased = "" if plan.xdp else self._engines.retire_xdp()
        done = [one for one in (self.on_xdp if plan.xdp else None, self._on_nftables) if one]
        seconds: dict[str, float] = {}
        for one in done:
            for phase, spent in one.seconds.items():
                seconds[phase] = seconds.get(phase, 0.0) + spent
        return ApplyReport(
            self._generation, seconds, "; ".join(filter(None, (self._note, unreleased, *(one.note for one in done))))
        )


def _all_taken(selection: Selection, plan: Placement, refused: dict[str, UnavailableError]) -> None:
    """Raise the first refusal, or ApplyError if there is no interface at all."""
    for error in refused.values():
        raise error
    if not plan.xdp:
        raise ApplyError(f"no interface matches {', '.join(selection.names)}", "name another with --interface")
