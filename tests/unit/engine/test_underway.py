# SPDX-License-Identifier: Apache-2.0
import threading
import time
from functools import partial

import pytest

from geodrop.engine import underway
from geodrop.engine.api import Difference, Observed
from geodrop.errors import ApplyError, BusyError, GeodropError, NotEnforcingError, UnavailableError
from geodrop.state.intent import Intent
from geodrop.state.store import Store
from tests.support.cli import TIMEOUT

BESIDE = Difference("chain g2", "nothing", "a chain", surplus=True)
WRONG = Difference("chain g1", "a chain", "nothing")


def test_it_is_known_for_as_long_as_it_lasts() -> None:
    """During a change its origin and start are known; afterwards nothing is, however it ended."""
    with underway.making("reload", 2, Intent()):
        assert (change := underway.now())
        assert (change.as_object()["origin"], change.as_object()["seconds"] >= 0) == ("reload", True)
    assert underway.now() is None
    with pytest.raises(KeyError), underway.making("reload", 2, Intent()):
        raise KeyError
    assert underway.now() is None


def test_what_is_beside_what_is_in_force_is_drift_at_rest_only() -> None:
    """Differences in what is in force always count."""
    assert underway.of_what_is_in_force([BESIDE, WRONG]) == [BESIDE, WRONG]
    with underway.making("reload", 2, Intent()):
        assert underway.of_what_is_in_force([BESIDE, WRONG]) == [WRONG]


def test_the_intent_that_goes_with_what_is_in_force(config_store: Store) -> None:
    """After the switch the new intent counts, even before it is written."""
    old, new = Intent(generation=1), Intent(generation=2, paused=5)
    config_store.remember(old)
    with underway.making("pause", 2, new):
        assert underway.intent(config_store, Observed(1)) == old
        assert underway.intent(config_store, Observed(2)) == new
    assert underway.intent(config_store, Observed(2)) == old


@pytest.fixture
def config_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a state directory for this test."""
    return Store(tmp_path_factory.mktemp("state"))


def test_what_is_wrong_is_read_again_after_a_switch() -> None:
    """A bad result is read again, a limited number of times, if a change began or ended; good or undisturbed reads are
    final.
    """
    reads: list[bool] = []

    def read(*, disturbed: bool) -> int:
        reads.append(disturbed)
        if disturbed:
            with underway.making("reload", 2, Intent()):
                pass
        return len(reads)

    assert underway.undisturbed(partial(read, disturbed=True), lambda found: found == 0) == underway.PASSES
    assert underway.undisturbed(partial(read, disturbed=True), lambda found: found > 0) == underway.PASSES + 1
    assert underway.undisturbed(partial(read, disturbed=False)) == underway.PASSES + 2


@pytest.mark.parametrize(
    "failure",
    [
        ApplyError("the kernel refused to read map __set0 (ENOENT)"),
        NotEnforcingError("nothing is in force in the kernel"),
        UnavailableError("the pins are gone"),
    ],
)
def test_what_fails_beside_a_change_is_read_again(failure: GeodropError) -> None:
    """A change may delete what is about to be read, or move it to the other engine; without a change the failure is
    what there is to say.
    """
    reads: list[bool] = []

    def read(*, disturbed: bool) -> int:
        reads.append(disturbed)
        if disturbed:
            with underway.making("reload", 2, Intent()):
                pass
        if len(reads) == 1 or not disturbed:
            raise failure
        return len(reads)

    assert underway.undisturbed(partial(read, disturbed=True), lambda _: True) == 2
    with pytest.raises(type(failure)):
        underway.undisturbed(partial(read, disturbed=False))
    assert len(reads) == 3


def test_what_is_wrong_in_the_middle_of_a_move_is_read_again_after_it() -> None:
    """The move takes longer than reading: the reader waits for its end, and not for the end of a change that fills."""
    reads: list[bool] = []

    def read(moving: threading.Event) -> bool:
        reads.append(True)
        found = not moving.is_set()
        moving.clear()
        return found

    moving, over = threading.Event(), threading.Event()
    moving.set()

    def move() -> None:
        with underway.making("reload", 2, Intent()):
            over.wait(TIMEOUT)

    mover = threading.Thread(target=move)
    mover.start()
    while underway.now() is None:
        time.sleep(0.001)
    threading.Timer(0.05, over.set).start()
    began = underway.marks()
    assert underway.undisturbed(partial(read, moving), bool)
    assert (len(reads), underway.at_rest(began)) == (2, False)
    mover.join()
    with underway.making("reload", 2, Intent()), underway.filling():
        began = underway.marks()
        assert not underway.undisturbed(lambda: False, bool)
        assert underway.at_rest(began)


@pytest.mark.parametrize("what", underway.FINISHED_BEFORE)
def test_what_cannot_wait(what: str) -> None:
    """A change is given up at its next step, or before it begins, until the urgent verb has begun."""
    with underway.making("reload", 2, Intent()):
        underway.go_on()
        underway.give_up(what)
        with pytest.raises(BusyError, match="stays in force"):
            underway.go_on()
    with pytest.raises(BusyError), underway.making("compact", 3, Intent()):
        pass
    for origin in underway.FINISHED_BEFORE[what]:
        with underway.making(origin, 3, Intent()):
            underway.go_on()
    underway.begin(what)
    with underway.making("reload", 2, Intent()):
        underway.go_on()


def test_told_from_another_thread() -> None:
    """The daemon's loop can stop the thread that makes the change."""
    with underway.making("reload", 2, Intent()):
        teller = threading.Thread(target=underway.give_up, args=["unload"])
        teller.start()
        teller.join()
        with pytest.raises(BusyError):
            underway.go_on()
    underway.begin("unload")
