"""Put both engines where a ruleset wants them, each on the interfaces that `assign` gives it, in one generation.

    stage     both engines fill and check the generation beside the one in force; xdp is attached where it is to judge
    switch    xdp publishes, then nftables replaces its rules, which let pass what xdp judges from now on
    finish    what is old goes, and with it the links of interfaces that nftables has taken over

An interface that moves may for a moment be judged by both, each time by a whole generation; never by neither. A failure
puts both engines back; a crash leaves the old or the new one on each interface, and the next load mends it.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from geodrop.dataplane.coverage import judged
from geodrop.dataplane.placement import place
from geodrop.engine.api import ApplyReport, Interface
from geodrop.errors import ApplyError, PrivilegeError, UnavailableError
from geodrop.linux.capabilities import XDP, missing
from geodrop.linux.network import Network
from geodrop.nftables.netlink.connection import RefusedError
from geodrop.xdp.requirements import unreadable, unsupported_reason

if TYPE_CHECKING:
    from geodrop.dataplane.both import BothEngines
    from geodrop.dataplane.placement import Placement
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
) -> ApplyReport:
    """Make both engines match a ruleset under `engine`: nftables, xdp or auto. A named one is never replaced.

    The generation may be the one in force, if that was verified to hold this ruleset: then nothing is filled that is
    there already, and links and rules change as far as interfaces came, went or are refused. With `kept`, which finds
    rulesets by digest, it may be an overlay on nftables (see nftables.overlay), whose counters go on from
    `counter_totals` where they are gone.

    Raises ApplyError, UnavailableError, PrivilegeError, ConfigError or DataError, with all as it was before.
    """
    with ExitStack() as stack:
        change = _Change(stack, engines, ruleset, generation, kept, counter_totals)
        unreadable = {} if engine == "nftables" else _unreadable(selection, engine)
        if engine != "nftables":
            change.stage_xdp(engine, selection)
        plan = place(engine, selection, {name: error.message for name, error in unreadable.items()}, change.unavailable)
        # If it is needed whatever may be refused, then before anything is attached: filling takes longer than the rest.
        change.stage_nftables(plan)
        if change.on_xdp:
            refused = unreadable | change.on_xdp.attach(plan.xdp)
            if engine == "xdp":
                _all_taken(selection, plan, refused)
            plan = place(engine, selection, {name: error.message for name, error in refused.items()})
            change.stage_nftables(plan)
        _nobody_is_left(plan, selection, set(engines.xdp.attached()) if engines.xdp else set())
        change.switch(plan)
    return change.report(plan)


def _unreadable(selection: Selection, engine: str) -> dict[str, UnavailableError]:
    """Interfaces whose packets xdp could not read; a named xdp is refused for the first of them."""
    found = {link.name: error for link in selection.present if (error := unreadable(link))}
    if engine == "xdp" and found:
        raise next(iter(found.values()))
    return found


def _nobody_is_left(plan: Placement, selection: Selection, attached: set[int]) -> None:
    """Raises UnavailableError where xdp judges a port of a bridge now, and nobody would from now on.

    nftables meets what arrives on a port at its master, so a rule for the port matches nothing.
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
            why = plan.scope.why.get(link.name, "engine: nftables is asked for")
            raise UnavailableError(
                f"nobody would judge {link.name} any more: it is a port of {master}, where alone nftables meets its "
                f"packets, and xdp is not to judge them ({why}); all is as it was",
                f"add {master} to `interfaces` in agent.yaml, or leave {link.name} to xdp",
            )


class _Change:
    """What is staged, and closed with `stack`. `unavailable` says why xdp cannot be used at all."""

    def __init__(  # noqa: PLR0913, PLR0917 - as `apply`
        self,
        stack: ExitStack,
        engines: BothEngines,
        ruleset: Ruleset,
        generation: int,
        kept: Kept | None,
        counter_totals: Totals | None,
    ) -> None:
        self.unavailable = ""
        self.on_xdp: OnXdp | None = None
        self._on_nftables: OnNftables | None = None
        self._stack, self._engines, self._ruleset, self._generation = stack, engines, ruleset, generation
        self._kept, self._counter_totals = kept, counter_totals
        self._note = ""

    def stage_xdp(self, engine: str, selection: Selection) -> None:
        """Fill xdp; if only auto asks for it, say instead why that cannot be."""
        if engine == "auto" and selection.ipsec is not False:
            self.unavailable = IPSEC if selection.ipsec else "it cannot be read whether IPsec is in use"
            return
        if problem := unsupported_reason(self._ruleset):
            if engine != "auto":
                raise problem
            self.unavailable = problem.message
            return
        try:
            xdp = self._engines.with_xdp()
            xdp.probe()
            self.on_xdp = self._stack.enter_context(xdp.staged(self._ruleset, self._generation))
        except (UnavailableError, PrivilegeError) as error:
            if engine != "auto":
                raise
            lacking = missing(XDP)
            self.unavailable = f"xdp not installed ({', '.join(lacking)} missing)" if lacking else error.message

    def stage_nftables(self, plan: Placement) -> None:
        """Fill nftables if the plan needs it. Where it only guards what may come, doing without is no failure."""
        if self._on_nftables or not plan.scope.names:
            return
        staged = self._engines.nftables.staged(self._ruleset, self._generation, self._kept, self._counter_totals)
        try:
            self._on_nftables = self._stack.enter_context(staged)
        except (UnavailableError, RefusedError) as error:
            # What a load names it makes itself: where it is not there (ENOENT), the kernel lacks that kind of rule.
            lacks = isinstance(error, UnavailableError) or error.errno == errno.ENOENT
            if not lacks or not plan.xdp or not plan.only_guards:
                raise
            self._note = f"nothing guards {', '.join(plan.scope.names)} until the next load: {error.message}"

    def switch(self, plan: Placement) -> None:
        """Put the new generation in force, xdp first: nftables goes on judging what it is about to let pass."""
        if self.on_xdp and plan.xdp:
            self.on_xdp.switch(plan.xdp)
        if self._on_nftables:
            self._on_nftables.switch(plan.scope)
        else:
            # Without nf_tables, or beside a table that is not ours, there is nothing to retire.
            with suppress(UnavailableError):
                self._engines.nftables.retire()

    def report(self, plan: Placement) -> ApplyReport:
        """Retire xdp if nothing is left to it, and say what was done."""
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
    """Raises the first refusal, or ApplyError where there is no interface at all."""
    for error in refused.values():
        raise error
    if not plan.xdp:
        raise ApplyError(f"no interface matches {', '.join(selection.names)}", "name another with --interface")
