# SPDX-License-Identifier: Apache-2.0
import errno
import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from geodrop.config import Config
from geodrop.engine.api import ApplyReport, Difference, Interface, Observed
from geodrop.engine.interfaces import Selection
from geodrop.errors import ApplyError, DataError, GeodropError, NotEnforcingError
from geodrop.operations.change import OpenChange, by_me, open_change
from geodrop.operations.load import remove_all
from geodrop.operations.pause import pause, resume
from geodrop.operations.rollback import roll_back
from geodrop.ruleset.model import Ruleset
from geodrop.state import files
from geodrop.state.entry import Attempt
from geodrop.state.intent import FOREVER, Intent
from geodrop.state.store import Store
from tests.unit.operations.conftest import Kernel

CALLS = ("open", "write", "fsync", "replace", "ftruncate", "mkdir", "unlink", "posix_fallocate", "utime")
"""Every call that changes something on a disk."""


def put(config: Config, path: Path, **asked_for: Any) -> ApplyReport | None:  # noqa: ANN401 - fields of Intent
    """Load a ruleset file."""
    with open_change(config, by_me("load")) as change:
        return change.apply(Ruleset.open(path), Selection(("eth0",)), "auto", replace(change.intent, **asked_for))


def digest_of(path: Path) -> str:
    """A ruleset's digest."""
    return Ruleset.open(path).digest


def test_what_is_asked_for_is_remembered_with_it(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """The intent changes as a whole; only what is new is written and becomes a generation."""
    assert put(config, rulesets[0], why="x")
    assert not put(config, rulesets[0], why="x")
    assert put(config, rulesets[1], rolled_back=True)
    digest = digest_of(rulesets[1])
    assert Store(config.state).intent() == Intent(2, digest, why="x", last_good=digest, rolled_back=True)
    assert len(Store(config.state).history.entries()) == 2
    assert kernel.now.generation == 2


def test_a_pause_applies_to_whatever_comes_in_force(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """No service starts before the end of the pause, and `verify` checks the kernel against that."""
    Store(config.state).remember(Intent(paused=FOREVER))
    put(config, rulesets[0])
    assert {service.starts for service in kernel.services} == {FOREVER}
    assert not put(config, rulesets[0])
    put(config, rulesets[0], paused=0)
    assert FOREVER not in {service.starts for service in kernel.services}
    assert kernel.now.generation == 2


def test_a_ruleset_ages_from_when_it_was_replaced(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """A ruleset ages from the moment it was replaced, not from its load."""
    del kernel
    store = Store(config.state)
    put(config, rulesets[0])
    first = store.ruleset_path(digest_of(rulesets[0]))
    os.utime(first, (1, 1))
    put(config, rulesets[1])
    assert abs(first.stat().st_mtime - time.time()) < 60


def test_a_quick_change_may_stand_on_what_is_in_force(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """A quick change may be an overlay on another ruleset that is still kept; a repair never is."""
    for number, (quick, path) in enumerate(((False, 0), (True, 1), (True, 1))):
        kernel.differences = [Difference("a map", "this", "that")] if number == 2 else []
        with open_change(config, by_me("reload"), quick=quick) as change:
            assert change.apply(Ruleset.open(rulesets[path]), Selection(("eth0",)), "auto")
        assert (kernel.kept is not None) == (number == 1)
        if kernel.kept:
            found = kernel.kept(digest_of(rulesets[0]))
            assert found is not None
            assert found.digest == digest_of(rulesets[0])
            assert kernel.kept("0" * 64) is None


def test_kept_rulesets(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """A kept ruleset that is gone, damaged or not a ruleset: 65, with what to do."""
    put(config, rulesets[0])
    digest = digest_of(rulesets[0])
    change = OpenChange(config, store := Store(config.state), Attempt())
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
    """What nftables was asked to judge stays with nftables; all else follows the engine of agent.yaml."""
    kernel.now = Observed(3, "d", tuple(Interface(f"eth{n}", engine) for n, engine in enumerate(engines)))
    change = OpenChange(replace(config, engine=configured), Store(config.state), Attempt())
    selection, engine = change.in_place()
    assert engine == expected
    assert selection.names == tuple(f"eth{n}" for n in range(len(engines)))
    kernel.now = Observed(3, "d", (Interface("eth0", "nftables", why="no bpffs"),))
    change = OpenChange(replace(config, engine=configured), Store(config.state), Attempt())
    assert change.in_place()[1] == configured


def test_nothing_in_force(kernel: Kernel, config: Config) -> None:
    """There are no interfaces in force: 3."""
    del kernel
    change = OpenChange(config, Store(config.state), Attempt())
    with pytest.raises(NotEnforcingError):
        change.in_place()


class Disk:
    """A disk whose write calls fail, either all from a given one on or only that one; reading always works."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, passing: int, *, lasting: bool) -> None:
        self.failed = False
        self._number, self._left, self._lasting = number, passing, lasting
        for call in CALLS:
            patch.setattr(os, call, self._breaking(call, getattr(os, call)))

    def _breaking(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def broken(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the call takes
            if call == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return real(*arguments, **options)
            self._left -= 1
            if self._left == -1 or (self._left < 0 and self._lasting):
                self.failed = True
                raise OSError(self._number, os.strerror(self._number))
            return real(*arguments, **options)

        return broken


def each_failure(number: int, *, lasting: bool, attempt: Callable[[], object], check: Callable[[], None]) -> int:
    """Try something with each write failing in turn, and check after each; return how many writes there are."""
    for passing in itertools.count():
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, number, passing, lasting=lasting)
            attempt()
        check()
        if not disk.failed:
            return passing
    raise AssertionError


NUMBERS = (errno.ENOSPC, errno.EROFS, errno.EACCES)
"""For the first errno there is a reserve; the last is another class of error."""
faults = pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
lastings = pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])


@faults
@lastings
def test_any_write_of_a_load_may_fail(
    kernel: Kernel, rulesets: list[Path], config: Config, number: int, *, lasting: bool
) -> None:
    """Whichever write fails: the change is refused with the old ruleset in force, or the new one is in force and known.

    Trying again completes what is missing, with a number that was never used.
    """
    put(config, rulesets[0])
    store, outcomes, given = Store(config.state), set[str](), set[int]()
    rounds = itertools.count()

    def attempt() -> None:
        path = rulesets[1 + next(rounds) % 2]
        before = kernel.now
        try:
            put(config, path)
        except GeodropError:
            assert kernel.now == before
            outcomes.add("refused")
        else:
            assert kernel.now.digest == digest_of(path)
            outcomes.add("done")

    def check() -> None:
        assert store.intent().digest == kernel.now.digest
        assert Ruleset.open(store.ruleset_path(kernel.now.digest)).digest == kernel.now.digest
        store.write_back()
        assert store.unwritten() == ()
        path = rulesets[3 * (len(given) % 2 == 0)]
        put(config, path)
        assert kernel.now.generation not in given
        given.add(kernel.now.generation)
        assert store.intent().digest == kernel.now.digest == digest_of(path)
        assert not list(config.state.rglob(f"{files.BESIDE}*"))

    assert each_failure(number, lasting=lasting, attempt=attempt, check=check) > 5
    assert outcomes == {"refused", "done"}


@dataclass(frozen=True)
class Glass:
    """A verb that must work whatever state the disk is in, and the result it must have."""

    ask: Callable[[Config], object]
    undo: Callable[[Config], object]
    wanted: Callable[[Intent, Kernel], bool]


def repair(config: Config) -> ApplyReport | None:
    """Repair as an inspection does after another program flushed the table."""
    digest = Store(config.state).intent().digest
    with open_change(config, by_me("repair")) as change:
        ruleset = change.kept(digest)
        return change.apply(ruleset, Selection(("eth0",)), "auto", rebuild=True)


GLASS = {
    "pause": Glass(
        lambda config: pause(config, by_me("pause"), FOREVER),
        lambda config: resume(config, by_me("resume")),
        lambda intent, kernel: intent.paused == FOREVER == kernel.services[0].starts,
    ),
    "resume": Glass(
        lambda config: resume(config, by_me("resume")),
        lambda config: pause(config, by_me("pause"), FOREVER),
        lambda intent, kernel: intent.paused == 0 and kernel.services[0].starts != FOREVER,
    ),
    "unload": Glass(
        lambda config: remove_all(config, by_me("unload")),
        repair,
        lambda intent, kernel: intent.unloaded and not kernel.now.generation,
    ),
    "rollback": Glass(
        lambda config: roll_back(config, by_me("rollback")),
        lambda config: put(config, config.state.parent / "1.ruleset", rolled_back=False),
        lambda intent, kernel: intent.rolled_back and intent.digest == kernel.now.digest,
    ),
    "repair": Glass(
        repair,
        lambda config: remove_all(config, by_me("unload")),
        lambda intent, kernel: kernel.now.generation > 0 and intent.digest == kernel.now.digest,
    ),
}


@pytest.mark.parametrize("verb", GLASS)
@faults
@lastings
def test_break_glass_works_whatever_the_disk_is_like(
    kernel: Kernel, rulesets: list[Path], config: Config, verb: str, number: int, *, lasting: bool
) -> None:
    """Whichever write fails, the kernel is changed, the next caller sees it, and it is written when possible."""
    glass, store = GLASS[verb], Store(config.state)
    for path in rulesets[:2]:
        put(config, path)
    glass.undo(config)
    wrote = []

    def check() -> None:
        assert glass.wanted(store.intent(), kernel)
        wrote.append(bool(store.unwritten()))
        told = [entry.origin for entry in store.history]
        assert told[-1] == verb
        store.write_back()
        assert store.unwritten() == ()
        assert [entry.origin for entry in store.history] == told
        assert glass.wanted(Store(config.state).intent(), kernel)
        assert json.loads((config.state / "intent.json").read_bytes())["generation"] == store.intent().generation
        glass.undo(config)

    assert each_failure(number, lasting=lasting, attempt=lambda: glass.ask(config), check=check) > 4
    # A single write without room is what the reserve is for.
    assert any(wrote) == (lasting or number != errno.ENOSPC)
    assert not wrote[-1]


def test_a_load_without_room_is_refused(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """A new ruleset that cannot be kept is refused: it must be found again by the digest that the kernel carries."""
    put(config, rulesets[0])
    before = kernel.now
    with pytest.MonkeyPatch.context() as patch:
        Disk(patch, errno.ENOSPC, 0, lasting=True)
        with pytest.raises(ApplyError, match="No space left on device") as caught:
            put(config, rulesets[1])
    assert "make room" in caught.value.next_step
    assert kernel.now == before
    assert Store(config.state).intent().digest == before.digest


def test_nobody_restores_what_may_have_been_unloaded(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """With an unknown intent only a person changes anything; that change makes the intent known again."""
    put(config, rulesets[0])
    store = Store(config.state)
    remove_all(config, by_me("unload"))
    for name in ("intent.json", "history.jsonl"):
        (config.state / name).write_bytes(b"\0\n")
    assert store.intent().unknown
    for origin in ("repair", "compact", "boot"):
        with (
            open_change(config, by_me(origin)) as change,
            pytest.raises(ApplyError, match="may say unloaded or paused"),
        ):
            change.apply(Ruleset.open(rulesets[0]), Selection(("eth0",)), "auto")
    assert not kernel.now.generation
    assert put(config, rulesets[0])
    assert not store.intent().unknown
    (config.state / "intent.json").write_bytes(b"\0")
    (config.state / "history.jsonl").unlink()
    assert store.intent().unknown
    remove_all(config, by_me("unload"))
    assert store.intent() == replace(store.intent(), unloaded=True, unknown="")
