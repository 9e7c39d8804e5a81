# SPDX-License-Identifier: Apache-2.0
"""The order in which two engines change, and the effect of failures; tests/kernel tests the same in the kernel."""

from __future__ import annotations

import dataclasses
import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.dataplane.transaction import apply
from geodrop.engine.api import Undo
from geodrop.engine.interfaces import Selection, resolve
from geodrop.errors import ApplyError, UnavailableError
from geodrop.linux.clock import monotonic
from geodrop.linux.network import Link
from geodrop.nftables.netlink.connection import RefusedError
from tests.support.rulesets import Service, ruleset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.engine.api import ApplyReport
    from geodrop.ruleset.model import Ruleset

PLAIN = ruleset(Service("api"))
TABLES = dataclasses.replace(PLAIN, sections={**PLAIN.sections, "xdp/lines": memoryview(b"")})
REJECTING = dataclasses.replace(
    TABLES, meta=dataclasses.replace(TABLES.meta, services=ruleset(Service("web", action="reject")).meta.services)
)
BOTH = resolve(["eth0", "eth1"], (Link(2, "eth0"), Link(3, "eth1")))
PATTERN = dataclasses.replace(BOTH, names=("eth*",))


class Fake:
    """An engine that records what it is asked to do, and fails at the steps it is told to."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.failing: dict[str, Exception] = {}
        self.refused: dict[str, UnavailableError] = {}
        self.seconds, self.note = {"fill": 1.0}, ""
        self.numbers: tuple[int, ...] = ()
        self.deadline = -1

    def _do(self, step: str, *what: object) -> None:
        self.log.append(" ".join(map(str, (self.name, step, *what))))
        if step in self.failing:
            raise self.failing[step]

    def probe(self) -> None:
        """Succeed, without a record."""
        if "probe" in self.failing:
            raise self.failing["probe"]

    @contextmanager
    def staged(self, _: Ruleset, generation: int, *__: object) -> Iterator[Fake]:
        """Yield itself as the staged generation."""
        self._do("stages", generation)
        try:
            yield self
        except BaseException:
            self._do("undoes")
            raise
        self._do("finishes")

    def attach(self, names: Sequence[str]) -> dict[str, UnavailableError]:
        """Return the refusals that the test prepared."""
        self._do("attaches", *names)
        return {name: error for name, error in self.refused.items() if name in names}

    def switch(self, to: Any, deadline: int) -> None:  # noqa: ANN401 - names for one engine, a scope for the other
        """Switch to names (xdp) or to a scope (nftables)."""
        self.deadline = deadline
        self._do("switches", *(to if isinstance(to, tuple) else to.names))

    def attached(self) -> tuple[int, ...]:
        """Return the numbers that the test prepared."""
        return self.numbers

    def retire(self) -> None:
        """Record that it judges nothing any more."""
        self._do("retires")


class Both:
    """Replaces BothEngines."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.xdp, self.nftables = Fake("xdp", self.log), Fake("nft", self.log)

    def with_xdp(self) -> Fake:
        """Return the fake xdp engine."""
        return self.xdp

    def retire_xdp(self) -> str:
        """Retire xdp without a failure."""
        self.xdp.retire()
        return ""


def done(both: Both, rules: Ruleset, selection: Selection, engine: str) -> list[str]:
    """Return what `transaction.apply` had the engines do."""
    both.log.clear()
    apply(both, rules, 7, selection, engine)  # type: ignore[arg-type]  # it has what arrange needs
    return both.log


def test_a_named_engine_retires_the_other() -> None:
    """The other engine retires only after the switch, so every packet is judged."""
    both = Both()
    assert done(both, TABLES, BOTH, "nftables") == [
        "nft stages 7",
        "nft switches eth0 eth1",
        "nft finishes",
        "xdp retires",
    ]
    steps = ["xdp stages 7", "xdp attaches eth0 eth1", "xdp switches eth0 eth1", "nft retires", "xdp finishes"]
    assert done(both, TABLES, BOTH, "xdp") == steps


def test_auto_stages_both_then_switches_both() -> None:
    """Nftables still judges what it will accept later, until xdp has published; then the old generations
    are removed.
    """
    assert done(Both(), TABLES, PATTERN, "auto") == [
        "xdp stages 7",
        "nft stages 7",
        "xdp attaches eth0 eth1",
        "xdp switches eth0 eth1",
        "nft switches eth*",
        "nft finishes",
        "xdp finishes",
    ]


def until(both: Both, undo: Undo | None, lasting: int = 0) -> ApplyReport:
    """Apply under auto, with a window."""
    return apply(both, TABLES, 7, PATTERN, "auto", undo=undo, lasting=lasting)  # type: ignore[arg-type]  # see `done`


def test_both_engines_get_one_deadline() -> None:
    """It is set once, at the switch; a deadline that is given is kept, as in a repair. Without a window there is
    none.
    """
    both = Both()
    began = monotonic()
    report = until(both, Undo(6, TABLES), lasting=10**9)
    assert began + 10**9 <= report.deadline <= monotonic() + 10**9
    assert both.xdp.deadline == both.nftables.deadline == report.deadline
    assert until(both, Undo(6, TABLES, 5)).deadline == 5
    assert until(both, None).deadline == both.xdp.deadline == 0


def test_what_xdp_cannot_go_back_to_stays_with_nftables() -> None:
    """Both generations of a window must be possible on an engine."""
    both = Both()
    until(both, Undo(6, REJECTING), lasting=1)
    assert not any(step.startswith("xdp stages") for step in both.log)


def test_a_refused_interface_goes_to_nftables() -> None:
    """The other interface stays with xdp, and nftables only guards its name; a named xdp refuses the whole load."""
    both = Both()
    both.xdp.refused = {"eth1": UnavailableError("too large")}
    steps = done(both, TABLES, BOTH, "auto")
    assert steps[1:] == [
        "nft stages 7",
        "xdp attaches eth0 eth1",
        "xdp switches eth0",
        "nft switches eth1 eth0",
        "nft finishes",
        "xdp finishes",
    ]
    with pytest.raises(UnavailableError, match="too large"):
        done(both, TABLES, BOTH, "xdp")
    assert both.log[-1] == "xdp undoes"


WITH_TUNNEL = resolve(["eth0", "tun0"], (Link(2, "eth0"), Link(3, "tun0", "tun", hardware=65534)))


def test_xdp_is_not_tried_where_it_could_not_read() -> None:
    """For a layer-3 interface auto takes nftables and says why; a named xdp is refused before anything is touched."""
    both = Both()
    steps = done(both, TABLES, WITH_TUNNEL, "auto")
    assert "xdp attaches eth0" in steps
    assert "nft switches tun0 eth0" in steps
    with pytest.raises(UnavailableError, match="tun0 carries packets without an Ethernet header") as caught:
        done(both, TABLES, WITH_TUNNEL, "xdp")
    assert caught.value.exit_code == 69
    assert both.log == []


@pytest.mark.parametrize("ipsec", [True, None])
def test_auto_takes_nftables_where_ipsec_is_in_use(ipsec: bool | None) -> None:  # noqa: FBT001
    """With auto, nftables is also taken if IPsec use is not known. A named xdp stays, and status reports a problem."""
    both = Both()
    selection = dataclasses.replace(BOTH, ipsec=ipsec)
    assert "xdp stages 7" not in done(both, TABLES, selection, "auto")
    assert both.log[-1] == "xdp retires"
    assert "xdp stages 7" in done(both, TABLES, selection, "xdp")


PORT = resolve(["eth0"], (Link(2, "eth0", master=3), Link(3, "br0", "bridge")))


def test_no_change_leaves_an_interface_unjudged() -> None:
    """A bridge port that xdp judges stays with it if nftables could not judge it: the load is refused, unchanged."""
    for rules, engine in ((REJECTING, "auto"), (TABLES, "nftables")):
        both = Both()
        both.xdp.numbers = (2,)
        with pytest.raises(UnavailableError, match="packets on eth0 would no longer be judged: it is a port of br0"):
            done(both, rules, PORT, engine)
        assert not any("switches" in line for line in both.log)
    # If the bridge is judged too, or xdp did not judge the port before, no protection is lost.
    both = Both()
    both.xdp.numbers = (2,)
    done(both, REJECTING, resolve(["eth0", "br0"], PORT.links), "auto")
    assert "nft switches eth0 br0" in both.log
    both.xdp.numbers = ()
    done(both, REJECTING, PORT, "auto")
    assert "nft switches eth0" in both.log


@pytest.mark.parametrize("rules", [PLAIN, REJECTING])
def test_auto_does_not_try_what_cannot_be(rules: Ruleset) -> None:
    """Without tables, or with a service that rejects, everything goes to nftables from the start."""
    both = Both()
    assert done(both, rules, BOTH, "auto") == ["nft stages 7", "nft switches eth0 eth1", "nft finishes", "xdp retires"]


def test_auto_moves_on_where_xdp_cannot_work() -> None:
    """A named xdp fails instead."""
    both = Both()
    both.xdp.failing = {"probe": UnavailableError("no bpffs")}
    assert done(both, TABLES, BOTH, "auto")[0] == "nft stages 7"
    with pytest.raises(UnavailableError, match="no bpffs"):
        done(both, TABLES, BOTH, "xdp")
    assert both.log == []


def test_a_failure_of_one_undoes_both() -> None:
    """Whichever step fails, nothing is left half done."""
    for step in ("stages", "switches"):
        both = Both()
        both.nftables.failing = {step: ApplyError("broken on purpose")}
        with pytest.raises(ApplyError, match="broken on purpose"):
            done(both, TABLES, PATTERN, "auto")
        assert both.log[-1] == "xdp undoes"
        assert not any("finishes" in line for line in both.log)


def test_a_guard_that_cannot_be_had_is_done_without() -> None:
    """Without nf_tables xdp judges what exists, and the report says which names are not guarded."""
    both = Both()
    both.nftables.failing = {"stages": UnavailableError("no nf_tables")}
    report = apply(both, TABLES, 7, PATTERN, "auto")  # type: ignore[arg-type]  # as above
    assert report.note == "nothing guards eth* until the next load: no nf_tables"
    assert "xdp switches eth0 eth1" in both.log
    both.xdp.refused = {"eth1": UnavailableError("too large")}
    with pytest.raises(UnavailableError, match="no nf_tables"):
        done(both, TABLES, PATTERN, "auto")


def test_a_guard_of_rules_that_the_kernel_lacks_is_done_without() -> None:
    """A kernel without a kind of rule (ENOENT) cannot guard; xdp judges what exists.

    If the kernel refuses for another reason, such as memory, the load fails, since a guard would be possible.
    """
    both = Both()
    both.nftables.failing = {"stages": RefusedError(errno.ENOENT, "add rule 1 to chain g7")}
    report = apply(both, TABLES, 7, PATTERN, "auto")  # type: ignore[arg-type]  # as above
    assert report.note.startswith("nothing guards eth* until the next load: the kernel refused to add rule 1 ")
    assert "xdp switches eth0 eth1" in both.log
    both.nftables.failing = {"stages": RefusedError(errno.ENOMEM, "add rule 1 to chain g7")}
    with pytest.raises(RefusedError, match="ENOMEM"):
        done(both, TABLES, PATTERN, "auto")
    both.nftables.failing = {"stages": RefusedError(errno.ENOENT, "add rule 1 to chain g7")}
    with pytest.raises(RefusedError, match="ENOENT"):
        done(both, REJECTING, PATTERN, "auto")


def test_named_xdp_needs_an_interface() -> None:
    """Xdp needs an interface that exists: it attaches to interfaces, not to names."""
    with pytest.raises(ApplyError, match="no interface matches ppp0"):
        done(Both(), TABLES, Selection(("ppp0",), ("ppp0",)), "xdp")
