# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from geodrop.engine.exempt import ExemptSource
from geodrop.operations.exempt_sources import at_load, passing, settle, verify_exempt
from geodrop.operations.load import load
from geodrop.state.exemptions import SECOND, ClockReading, Exemption
from geodrop.state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.config import Config
    from tests.unit.operations.conftest import Kernel


def made(source: str = "81.2.69.142/32", seconds: int = 600, **changed: object) -> Exemption:
    """Return an exemption that began now."""
    at = ClockReading.now()
    one = Exemption(source, int(at.wall), int(at.wall) + seconds, at.boot, at.monotonic + seconds * SECOND)
    return replace(one, **changed)  # type: ignore[arg-type]


@pytest.fixture
def store(config: Config) -> Store:
    """Return the state directory."""
    return Store(config.state)


def test_what_was_flushed_is_put_back_for_the_rest_of_its_time(kernel: Kernel, store: Store) -> None:
    """The difference is reported; the second time there is none."""
    store.exemptions.note([one := made()])
    [found] = settle(kernel, store)  # type: ignore[arg-type]  # a fake for both engines
    assert found.found == "not exempt"
    assert [source.deadline for source in kernel.exempt] == [one.deadline]
    assert settle(kernel, store) == []  # type: ignore[arg-type]


def test_nobody_else_lets_a_source_pass(kernel: Kernel, store: Store) -> None:
    """What the state does not name is removed, and reported."""
    store.exemptions.note([made()])
    settle(kernel, store)  # type: ignore[arg-type]
    store.exemptions.note([])
    assert verify_exempt(kernel, store)  # type: ignore[arg-type]
    [found] = settle(kernel, store)  # type: ignore[arg-type]
    assert found.expected == "not exempt"
    assert kernel.exempt == []


def test_a_file_that_became_unreadable_guards_on(kernel: Kernel, store: Store, config: Config) -> None:
    """What was read before counts: nobody else passes, who was exempt still is, and the file is left as it is."""
    store.exemptions.note([made()])
    settle(kernel, store)  # type: ignore[arg-type]
    before, kernel.exempt = kernel.exempt, []
    (config.state / "exemptions.json").write_text("{")
    assert verify_exempt(kernel, store)  # type: ignore[arg-type]
    assert settle(kernel, store)  # type: ignore[arg-type]
    assert kernel.exempt == before
    kernel.exempt = [*before, ExemptSource(ip_network("1.0.0.0/24"), before[0].deadline)]
    [found] = settle(kernel, store)  # type: ignore[arg-type]
    assert found.expected == "not exempt"
    assert kernel.exempt == before
    assert (config.state / "exemptions.json").read_text() == "{"


def test_what_is_over_is_forgotten(kernel: Kernel, store: Store) -> None:
    """No difference, whether the kernel still has it or not."""
    store.exemptions.note([made(deadline=time.monotonic_ns() - SECOND), two := made("2400::/32")])
    kernel.exempt = passing(store)
    assert settle(kernel, store) == []  # type: ignore[arg-type]
    assert store.exemptions.read() == (two,)


def test_after_a_boot_it_is_measured_by_the_new_boot(kernel: Kernel, store: Store) -> None:
    """Beginning again is no difference, and from then on the time of day does not matter."""
    store.exemptions.note([made(boot="earlier", deadline=1)])
    assert settle(kernel, store) == []  # type: ignore[arg-type]
    [one] = store.exemptions.read() or ()
    assert one.boot == ClockReading.now().boot
    [source] = kernel.exempt
    assert source.deadline == one.deadline
    assert 590 * SECOND < source.deadline - time.monotonic_ns() <= 600 * SECOND


def test_a_slow_clock_that_is_set_right_ends_it(kernel: Kernel, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a boot with a clock behind: setting it right ends what is over by then, in the kernel too, and no other
    program is blamed.
    """
    store.exemptions.note([made(boot="earlier", deadline=1)])
    assert settle(kernel, store) == []  # type: ignore[arg-type]
    assert len(kernel.exempt) == 1
    now = ClockReading.now()
    monkeypatch.setattr(ClockReading, "now", lambda: replace(now, wall=now.wall + 86_400))
    assert settle(kernel, store) == []  # type: ignore[arg-type]
    assert (kernel.exempt, store.exemptions.read()) == ([], ())


def test_held_back_until_the_clock_is_right(kernel: Kernel, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock earlier than its creation: nobody passes, `status` says so; then it passes, which is no difference."""
    store.exemptions.note([one := made(boot="earlier")])
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - 86_400)
    assert settle(kernel, store) == []  # type: ignore[arg-type]
    assert (kernel.exempt, store.exemptions.read()) == ([], (one,))
    assert any("is held back" in line for line in store.problems())
    monkeypatch.undo()
    assert settle(kernel, store) == []  # type: ignore[arg-type]
    assert [source.network for source in kernel.exempt] == [ip_network(one.source)]


def test_what_cannot_be_read_leaves_the_kernel_alone(kernel: Kernel, store: Store) -> None:
    """Those who pass go on passing."""
    store.exemptions.note([made()])
    settle(kernel, store)  # type: ignore[arg-type]
    before = list(kernel.exempt)
    (store.folder / "exemptions.json").write_text("{")
    assert settle(kernel, store) == []  # type: ignore[arg-type]
    assert verify_exempt(kernel, store) == []  # type: ignore[arg-type]
    assert kernel.exempt == before


def test_a_load_has_them_from_the_start(kernel: Kernel, store: Store, config: Config, ruleset: Path) -> None:
    """A table that the load makes lets them pass; afterwards the kernel holds them."""
    store.exemptions.note([one := made()])
    at_load(kernel, store)  # type: ignore[arg-type]
    assert [source.deadline for source in kernel.from_now] == [one.deadline]
    load(str(ruleset), config, "nftables", ["eth0"])
    assert kernel.exempt == kernel.from_now
