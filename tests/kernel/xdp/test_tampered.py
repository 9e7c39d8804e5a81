# SPDX-License-Identifier: Apache-2.0
"""What root may do to maps and pins, since nothing protects them: audits find it, and a repair makes it right."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Config
from geodrop.dataplane.both import BothEngines
from geodrop.engine.spot_check import compare, of_each_denied
from geodrop.errors import GeodropError
from geodrop.linux import libbpf
from geodrop.nftables.engine import NftablesEngine
from geodrop.operations.change import by_me
from geodrop.operations.load import apply_file, what_is_loaded
from geodrop.operations.repair import Baseline, check_share, inspect
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import ChangeRequest
from geodrop.state.lock import exclusive
from geodrop.xdp import layout as lay
from geodrop.xdp.program_set import PAGE, ProgramSet
from tests.kernel.xdp.probe import Probe
from tests.support.engines import XdpEngine
from tests.support.worlds import POLICY_CN, POLICY_US, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geodrop.engine.api import Difference
    from geodrop.xdp.pins import Pins
    from tests.support.namespaces import End

REPAIR = ChangeRequest("repair", 0)


def overwrite(programs: ProgramSet, name: str, size: int) -> None:
    """Fill a map with zeros."""
    with libbpf.opened(programs.folder / name) as fd, libbpf.map_memory(fd, size) as memory:
        memory[:] = bytes(size)


def tables(programs: ProgramSet) -> None:
    """Empty all tables that packets are judged by."""
    for word in programs.control().words:
        overwrite(programs, f"tables{word.tables}", programs.sizes.segments * lay.SEGMENT_BYTES)


def policies(programs: ProgramSet) -> None:
    """Empty the policies behind their heads, which say what they are."""
    for word in programs.control().words:
        size = programs.sizes.elements * lay.POLICY_BYTES
        with libbpf.opened(programs.folder / f"policy{word.policy}") as fd, libbpf.map_memory(fd, size) as memory:
            memory[lay.POLICY_BYTES :] = bytes(size - lay.POLICY_BYTES)


def control(programs: ProgramSet) -> None:
    """Say that nothing is in force."""
    overwrite(programs, "control", PAGE)


def labels(programs: ProgramSet) -> None:
    """Empty the list of counters."""
    overwrite(programs, "labels", PAGE)


def other_tables(programs: ProgramSet) -> None:
    """Put other tables where packets look; what is pinned stays as it is."""
    made = libbpf.create_array("theirs", lay.SEGMENT_BYTES, programs.sizes.segments)
    with libbpf.closing(made) as fd:
        for slot in (0, 1):
            libbpf.write_element(programs.fds["tables"], slot, fd.to_bytes(4, "little"))


def other_policies(programs: ProgramSet) -> None:
    """Put other policies where packets look; what is pinned stays as it is."""
    made = libbpf.create_array("theirs", lay.POLICY_BYTES, programs.sizes.elements)
    with libbpf.closing(made) as fd:
        for slot in (0, 1):
            libbpf.write_element(programs.fds["policies"], slot, fd.to_bytes(4, "little"))


def no_policies(programs: ProgramSet) -> None:
    """Take the policies away from packets; what is pinned stays as it is."""
    libbpf.delete_element(programs.fds["policies"], programs.word().policy)


def unpinned(name: str) -> Callable[[ProgramSet], None]:
    """Remove a pin, or both of a kind."""

    def remove(programs: ProgramSet) -> None:
        for path in programs.folder.glob(f"{name}*" if name in {"policy", "tables"} else name):
            path.unlink()

    return remove


TAMPERING = {
    made.__name__: made for made in (tables, policies, control, labels, other_tables, other_policies, no_policies)
} | {f"no pin of {name}": unpinned(name) for name in ("policy", "tables", "geodrop")}
IN_FORCE = (
    "tables",
    "policies",
    "control",
    "labels",
    "other_tables",
    "no_policies",
    "no pin of policy",
    "no pin of geodrop",
)
ON_TRIAL = ("tables", "other_policies", "no pin of tables")


class Host:
    """A host whose state, pins and interface a test has for itself."""

    def __init__(self, pins: Pins, folder: Path) -> None:
        self.pins = pins
        self.config = Config(engine="xdp", interfaces=("eth0",), state=folder / "state")
        self.rulesets = []
        for number, policy in enumerate((POLICY_CN, POLICY_US)):
            file = folder / f"{number}.ruleset"
            file.write_bytes(packed(policy, folder))
            self.rulesets.append(Ruleset.open(file))

    def load(self, number: int, within: int = 0) -> None:
        """Load a ruleset."""
        apply_file(self.rulesets[number], self.config, "xdp", (), by_me("load", "", within))

    def audited(self) -> list[Difference]:
        """Return what a daemon's audits find in an hour. If the kernel cannot be read, an audit finds nothing."""
        with contextlib.suppress(GeodropError):
            found = check_share(self.config, 0, 1)
            engines, _, ruleset = what_is_loaded(self.config)
            return found + compare(ruleset, engines, list(of_each_denied(ruleset)))
        return []

    def tamper(self, name: str) -> None:
        """Do it to the set in force."""
        with ProgramSet.open(self.pins.sets()[0]) as programs:
            TAMPERING[name](programs)


@pytest.fixture
def host(
    ends: tuple[End, End], pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Host, Probe]]:
    """Yield a host in the judged namespace, and a probe that tells by packets which policy judges."""
    with ends[1].namespace.entered(), Probe(*ends) as probe, exclusive():

        def here(*_: object) -> BothEngines:
            return BothEngines(NftablesEngine(), XdpEngine(pins=pins))

        monkeypatch.setattr(BothEngines, "here", here)
        made = Host(pins, tmp_path)
        yield made, probe
        BothEngines.here().remove()


@pytest.mark.parametrize("within", [0, 3600], ids=["in force", "on trial"])
def test_it_is_made_right(host: tuple[Host, Probe], within: int) -> None:
    """Inspections with what an audit finds lead back to the policy, for a load on trial with the other one behind it;
    then all bytes are as in the ruleset, and nothing is left to repair.
    """
    edge, probe = host
    edge.load(0)
    if within:
        edge.load(1, within)
    known = inspect(edge.config, Baseline(), REPAIR).known
    for name in ON_TRIAL if within else IN_FORCE:
        edge.tamper(name)
        seen = inspect(edge.config, known, REPAIR, found=edge.audited())
        assert (name, bool(seen.differences), seen.failure) == (name, True, "")
        assert (name, probe.policy()) == (name, "b" if within else "a")
        assert (name, edge.audited()) == (name, [])
        known = inspect(edge.config, seen.known, REPAIR).known
        assert known is seen.known
        assert len(edge.pins.sets()) == 1


def test_a_load_shares_no_tables_that_were_overwritten(host: tuple[Host, Probe]) -> None:
    """Another policy with the same tables shares them; the same policy again does not, if they are not as they should
    be.
    """
    edge, _ = host
    edge.load(0)

    def slot() -> int:
        with ProgramSet.open(edge.pins.sets()[0]) as programs:
            return programs.word().tables

    before = slot()
    edge.load(1)
    assert slot() == before
    edge.tamper("tables")
    edge.load(1)
    assert slot() != before
    assert edge.audited() == []
