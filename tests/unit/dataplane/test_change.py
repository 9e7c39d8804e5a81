import itertools
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geodrop.config import Config
from geodrop.dataplane.change import Change, begun, by_me
from geodrop.dataplane.engine import Difference, Interface, Observed, Report
from geodrop.dataplane.interfaces import Selection
from geodrop.errors import ApplyError, DataError, GeodropError, NotEnforcingError
from geodrop.ruleset.model import Ruleset
from geodrop.state import files
from geodrop.state.store import FOREVER, Intent, Store
from tests.unit.dataplane.conftest import Kernel

CALLS = ("open", "fsync", "replace", "ftruncate", "mkdir", "unlink")


def put(config: Config, path: Path, **asked_for: Any) -> Report | None:  # noqa: ANN401 - fields of Intent
    """One load."""
    with begun(config, by_me("load")) as change:
        return change.put(Ruleset.open(path), Selection(("eth0",)), "auto", **asked_for)


def digest_of(path: Path) -> str:
    """A ruleset's digest."""
    return Ruleset.open(path).digest


def test_what_is_asked_for_is_remembered_with_it(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """The intent changes as a whole; only what is new is written down and made a generation."""
    assert put(config, rulesets[0], why="x")
    assert not put(config, rulesets[0], why="x")
    assert put(config, rulesets[1], rolled_back=True)
    digest = digest_of(rulesets[1])
    assert Store(config.state).intent() == Intent(2, digest, why="x", last_good=digest, rolled_back=True)
    assert len(Store(config.state).history.entries()) == 2
    assert kernel.now.generation == 2


def test_a_pause_applies_to_whatever_comes_in_force(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """No service starts before its end, and the kernel is held against that."""
    Store(config.state).remember(Intent(paused=FOREVER))
    put(config, rulesets[0])
    assert {service.starts for service in kernel.services} == {FOREVER}
    assert not put(config, rulesets[0])
    put(config, rulesets[0], paused=0)
    assert FOREVER not in {service.starts for service in kernel.services}
    assert kernel.now.generation == 2


def test_a_ruleset_ages_from_when_it_was_replaced(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """Not from when it was loaded."""
    del kernel
    store = Store(config.state)
    put(config, rulesets[0])
    first = store.ruleset_path(digest_of(rulesets[0]))
    os.utime(first, (1, 1))
    put(config, rulesets[1])
    assert abs(first.stat().st_mtime - time.time()) < 60


def test_a_quick_change_may_stand_on_what_is_in_force(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """If that is another ruleset, which is still kept; never where the kernel is put right."""
    for number, (quick, path) in enumerate(((False, 0), (True, 1), (True, 1))):
        kernel.differences = [Difference("a map", "this", "that")] if number == 2 else []
        with begun(config, by_me("reload"), quick=quick) as change:
            assert change.put(Ruleset.open(rulesets[path]), Selection(("eth0",)), "auto")
        assert (kernel.kept is not None) == (number == 1)
        if kernel.kept:
            found = kernel.kept(digest_of(rulesets[0]))
            assert found is not None
            assert found.digest == digest_of(rulesets[0])
            assert kernel.kept("0" * 64) is None


def test_kept_rulesets(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """Gone, damaged or another one: 65, with what to do."""
    put(config, rulesets[0])
    digest = digest_of(rulesets[0])
    change = Change(config, store := Store(config.state), attempt=None)  # type: ignore[arg-type]
    assert change.kept(digest).digest == kernel.now.digest
    store.ruleset_path(digest).write_bytes(rulesets[1].read_bytes())
    with pytest.raises(DataError, match="holds another ruleset"):
        change.kept(digest)
    store.ruleset_path(digest).write_bytes(b"GEO")
    with pytest.raises(DataError, match="not a geodrop ruleset"):
        change.kept(digest)
    store.ruleset_path(digest).unlink()
    with pytest.raises(DataError, match="any more") as caught:
        change.kept(digest)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("engines", "configured", "expected"),
    [
        (["nftables"], "auto", "nftables"),
        (["nftables"], "xdp", "nftables"),
        (["xdp", "nftables"], "auto", "auto"),
        (["xdp"], "xdp", "xdp"),
    ],
)
def test_where_packets_are_judged_stays(
    kernel: Kernel, config: Config, engines: list[str], configured: str, expected: str
) -> None:
    """What nftables was meant to judge stays with it; all else goes by agent.yaml, which says whether it may move."""
    kernel.now = Observed(3, "d", tuple(Interface(f"eth{n}", engine) for n, engine in enumerate(engines)))
    change = Change(replace(config, engine=configured), Store(config.state), attempt=None)  # type: ignore[arg-type]
    selection, engine = change.in_place()
    assert engine == expected
    assert selection.names == tuple(f"eth{n}" for n in range(len(engines)))
    kernel.now = Observed(3, "d", (Interface("eth0", "nftables", why="no bpffs"),))
    change = Change(replace(config, engine=configured), Store(config.state), attempt=None)  # type: ignore[arg-type]
    assert change.in_place()[1] == configured


def test_nothing_in_force(kernel: Kernel, config: Config) -> None:
    """There is no place to speak of: 3."""
    del kernel
    change = Change(config, Store(config.state), attempt=None)  # type: ignore[arg-type]
    with pytest.raises(NotEnforcingError):
        change.in_place()


@pytest.mark.parametrize("call", CALLS)
def test_any_write_may_fail(kernel: Kernel, rulesets: list[Path], config: Config, call: str) -> None:
    """Whichever write fails: the old or the new one is in force, its ruleset is kept, and the message says which.

    Doing it again then mends what is missing, with a number that was never given out.
    """
    put(config, rulesets[0])
    store, after = Store(config.state), 0
    for passing in itertools.count():
        path = rulesets[1 + passing % 2]
        before, told, failed = kernel.now, "", False
        with pytest.MonkeyPatch.context() as patch:
            real, left = getattr(os, call), passing

            def broken(*arguments: object, **options: object) -> object:
                nonlocal left, failed
                left -= 1
                if left == -1:
                    failed = True
                    raise OSError(28, "No space left on device")
                return real(*arguments, **options)  # noqa: B023 - used within the round only

            patch.setattr(os, call, broken)
            try:
                put(config, path)
            except GeodropError as error:
                told = str(error)
        if not failed:
            break
        assert Ruleset.open(store.ruleset_path(kernel.now.digest)).digest == kernel.now.digest
        if kernel.now != before and told:
            after += 1
            assert f"generation {kernel.now.generation} is in force, but" in told or "into the history" in told
        assert store.intent().generation >= kernel.now.generation or "is in force, but" in told
        put(config, path)
        assert store.intent().digest == kernel.now.digest == digest_of(path)
        assert not list(config.state.rglob(f"{files.BESIDE}*"))
    if call in {"fsync", "open"}:
        assert after >= 2


def test_what_could_not_be_written_down_is_told(
    kernel: Kernel, ruleset: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has changed, so the message does not say that nothing has."""
    real, calls = Store.remember, itertools.count()

    def full(store: Store, intent: Intent) -> None:
        if next(calls):
            raise ApplyError("intent.json: No space left on device", "make room")
        real(store, intent)

    monkeypatch.setattr(Store, "remember", full)
    with pytest.raises(ApplyError, match="generation 1 is in force, but that could not be written down") as caught:
        put(config, ruleset)
    assert "make room, then do this again" in caught.value.next_step
    assert kernel.now.generation == 1
    assert Store(config.state).history.entries()[0].error.startswith("generation 1 is in force, but")
