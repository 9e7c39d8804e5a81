# SPDX-License-Identifier: Apache-2.0
"""A load that fails halfway, at any call, changes nothing and leaves nothing behind."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.errors import ApplyError, UnavailableError
from geodrop.linux import libbpf
from tests.kernel.xdp.states import ALL, LOADS, State
from tests.support.descriptors import left_open, open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from geodrop.ruleset.model import Ruleset
    from tests.kernel.xdp.states import Bench
    from tests.support.engines import XdpEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]

LONG = os.environ.get("GEODROP_TEST_LONG") == "1"


class NoMemory:
    """Counts the calls by which an engine asks the kernel for anything, and refuses one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.refused: object = None
        self._at, self._number = 0, errno.ENOMEM
        for owner, name in ((libbpf, "call"), (libbpf, "map_memory"), (Path, "mkdir")):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def refuse(self, at: int, number: int = errno.ENOMEM) -> None:
        """Count calls from 1 from now on, and refuse call number `at`; with 0, refuse none."""
        self.asked, self._at, self.refused, self._number = 0, at, None, number

    def _counting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: object, **options: object) -> Any:  # noqa: ANN401 - whatever the real one does
            self.asked += 1
            if self.asked == self._at:
                self.refused = (real.__name__, *arguments)
                raise OSError(self._number, os.strerror(self._number))
            return real(*arguments, **options)

        return counted


@pytest.mark.parametrize("name", LOADS)
def test_no_memory_half_way(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each call in turn fails with ENOMEM: the load is refused, or, after the switch, it has succeeded.

    If it is refused, all of the old state is in force, without additional pins or descriptors. The next load succeeds.
    """
    old, new = LOADS[name]
    for state in (old, new, old):
        bench.load(state)
    memory = NoMemory(monkeypatch)
    refusals = done = 0
    stride = 1
    if not old.policy or old.version != new.version:  # loading a program takes the kernel a second
        stride = 5 if LONG else 47
    for step in itertools.count(1, stride):
        before = open_descriptors()
        memory.refuse(step)
        error, note = attempt(bench, new)
        refused = memory.refused
        memory.refuse(0)
        if error:
            assert "memory" in error, refused
            bench.assert_is(old)
            refusals += 1
        elif refused:
            # The new state is in force already, completely, even if something old is still to be removed.
            policies = bench.policies()
            assert [policies[interface] for interface in new.interfaces] == [new.policy] * len(new.interfaces), refused
            assert "memory" in note
            done += 1
        bench.load(new)
        bench.assert_is(new)
        bench.load(old)
        bench.assert_is(old)
        assert not left_open(before), refused
        if not refused:
            break
    assert refusals > done


READERS: dict[str, Callable[[XdpEngine, Ruleset], object]] = {
    "unread": lambda engine, _: engine.unread(),
    "observe": lambda engine, _: engine.observe(),
    "verify": lambda engine, ruleset: engine.verify(ruleset),
    "verify_share": lambda engine, ruleset: engine.verify_share(ruleset, 0, 4),
    "fingerprint": lambda engine, _: engine.fingerprint(),
    "counters": lambda engine, _: engine.counters(),
    "judge": lambda engine, ruleset: engine.judge(ruleset, ["1.1.1.1", "2400::1"]),
    "attached": lambda engine, _: engine.attached(),
}


@pytest.mark.parametrize("name", READERS)
def test_what_cannot_be_read_is_not_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each call in turn lacks descriptors or memory, or the device fails: the result is an error (69) or the old
    answer.

    An empty answer would make the watch repair what is intact, or `status` call a protected host unprotected.
    """
    bench.load(State("a", ALL))
    engine, ruleset, read = bench.engine(), bench.rulesets["a"], READERS[name]
    memory = NoMemory(monkeypatch)
    for number in (errno.EMFILE, errno.ENOMEM, errno.EIO):
        answer, refusals = read(engine, ruleset), 0
        for step in itertools.count(1):
            before = open_descriptors()
            memory.refuse(step, number)
            try:
                assert read(engine, ruleset) == answer, memory.refused
            except UnavailableError as error:
                assert os.strerror(number) in error.message  # noqa: PT017 - an answer is as good
                refusals += 1
            refused = memory.refused
            memory.refuse(0)
            assert not left_open(before), refused
            if not refused:
                break
        assert refusals


def attempt(bench: Bench, state: State) -> tuple[str, str]:
    """Load; return the error, and the note about what failed after the switch."""
    try:
        return "", bench.load(state)
    except ApplyError as error:
        return str(error), ""
