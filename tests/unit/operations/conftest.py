# SPDX-License-Identifier: Apache-2.0
"""A fake engine whose kernel is a variable, for tests of the code around engines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Config
from geodrop.dataplane import transaction
from geodrop.dataplane.both import BothEngines
from geodrop.dataplane.coverage import Coverage
from geodrop.engine import underway
from geodrop.engine.api import ApplyReport, Difference, Interface, Observed
from geodrop.engine.exempt import differences
from geodrop.engine.interfaces import Selection
from geodrop.operations import change, load
from tests.unit.ruleset.test_model import META, pack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geodrop.engine.api import Undo
    from geodrop.engine.exempt import ExemptSource, Network
    from geodrop.nftables.bases import Kept
    from geodrop.nftables.transactions import Totals
    from geodrop.ruleset.model import Ruleset, ServiceSpec


class Kernel:
    """An engine whose kernel is a variable."""

    name = "fake"

    def __init__(self) -> None:
        self.now = Observed()
        self.differences: list[Difference] = []
        self.failure: Exception | None = None
        self.services: tuple[ServiceSpec, ...] = ()
        self.nftables = self
        self.overlay = False
        self.told_apart: list[str] = []
        self.under_way: list[str] = []
        self.kept: Kept | None = None
        self.undo: Undo | None = None
        self.exempt: list[ExemptSource] = []
        self.from_now: list[ExemptSource] = []

    def observe(self) -> Observed:
        """Return what was applied last."""
        return self.now

    def verify(self, ruleset: Ruleset, *, full: bool = True, undo: Undo | None = None) -> list[Difference]:
        """Return the differences that the test prepared, and one if services do not start when they should."""
        del full, undo
        start = [] if ruleset.meta.services == self.services else [Difference("starts", "as in the ruleset", "other")]
        return [*self.differences, *start]

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Apply the ruleset, or fail if the test asks for it."""
        if self.failure:
            raise self.failure
        self.services = ruleset.meta.services
        self.now = Observed(generation, ruleset.digest, tuple(Interface(name, self.name) for name in interfaces))
        return ApplyReport(generation)

    def apply_transaction(  # noqa: PLR0917 - as the real one
        self,
        _: object,
        ruleset: Ruleset,
        generation: int,
        to: Selection,
        engine: str,
        kept: Kept | None = None,
        counter_totals: Totals | None = None,
        undo: Undo | None = None,
        lasting: int = 0,
    ) -> ApplyReport:
        """Do what `apply` does, called through `transaction.apply`."""
        del engine, counter_totals
        self.kept, self.undo = kept, undo
        return replace(self.apply(ruleset, generation, to.names), deadline=undo.deadline or lasting if undo else 0)

    def exempt_from_now(self, sources: Sequence[ExemptSource]) -> None:
        """Remember what a new table would let pass."""
        self.from_now = list(sources)

    def put_exempt(self, sources: Sequence[ExemptSource]) -> None:
        """Let these sources pass, or fail if the test asks for it."""
        if self.failure:
            raise self.failure
        self.exempt = list(sources)

    def verify_exempt(self, sources: Sequence[ExemptSource]) -> list[Difference]:
        """Compare with what was put."""
        wanted, there = ({str(one.network): one.deadline for one in some} for some in (sources, self.exempt))
        return differences("exempt", wanted, there, 0)

    def exempt_totals(self, sources: Sequence[ExemptSource]) -> dict[Network, tuple[int, int]]:
        """Return one packet of 60 bytes for each source that passes."""
        networks = {one.network for one in self.exempt}
        return {one.network: (1, 60) for one in sources if one.network in networks}

    def is_overlay(self) -> bool:
        """Return what the test prepared."""
        return self.overlay

    def count_regions(self, ruleset: Ruleset) -> bool:
        """Return whether this ruleset has not been split yet; or fail if the test asks for it."""
        if self.failure:
            raise self.failure
        known = ruleset.digest in self.told_apart
        if change := underway.now():
            self.under_way.append(change.origin)
        self.told_apart.append(ruleset.digest)
        return not known

    def remove(self) -> bool:
        """Forget what was applied."""
        there, self.now = self.now.generation > 0, Observed()
        return there


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    """Put the fake engine in place of the real one, with a lock of its own."""
    fake = Kernel()
    monkeypatch.setattr(BothEngines, "here", lambda _="": fake)
    monkeypatch.setattr(transaction, "apply", fake.apply_transaction)
    monkeypatch.setattr(load, "read_coverage", lambda *_: Coverage(()))
    for module in (change, load):
        monkeypatch.setattr(module, "select", lambda wanted, _=(): Selection(tuple(wanted)))
    monkeypatch.setattr("geodrop.state.places.lock_file", lambda: str(tmp_path / "lock"))
    monkeypatch.setattr("geodrop.state.lock.lock_file", lambda: str(tmp_path / "lock"))
    return fake


@pytest.fixture
def rulesets(tmp_path: Path) -> list[Path]:
    """Return ruleset files that differ."""
    made = []
    for number in range(4):
        made.append(tmp_path / f"{number}.ruleset")
        made[-1].write_bytes(pack(replace(META, compiler=str(number))))
    return made


@pytest.fixture
def ruleset(rulesets: list[Path]) -> Path:
    """Return one ruleset file."""
    return rulesets[0]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration with a state directory of its own."""
    return Config(state=tmp_path / "state")
