"""A load that fails half way, at whatever call, changes nothing and leaves nothing behind."""

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

if TYPE_CHECKING:
    from collections.abc import Callable

    from geodrop.ruleset.model import Ruleset
    from tests.kernel.xdp.states import Bench
    from tests.support.engines import XdpEngine

pytestmark = [pytest.mark.root, pytest.mark.slow]

LONG = os.environ.get("GEODROP_TEST_LONG") == "1"


class NoMemory:
    """Counts the calls through which an engine asks the kernel for anything, and refuses one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.refused: object = None
        self._at, self._number = 0, errno.ENOMEM
        for owner, name in ((libbpf, "call"), (libbpf, "map_memory"), (Path, "mkdir")):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def refuse(self, at: int, number: int = errno.ENOMEM) -> None:
        """From now on count from 1, and refuse that one; 0: none."""
        self.asked, self._at, self.refused, self._number = 0, at, None, number

    def _counting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: object, **options: object) -> Any:  # noqa: ANN401 - whatever the real one does
            self.asked += 1
            if self.asked == self._at:
                self.refused = (real.__name__, *arguments)
                raise OSError(self._number, os.strerror(self._number))
            return real(*arguments, **options)

        return counted


def descriptors() -> set[str]:
    """What this process has open."""
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", LOADS)
def test_no_memory_half_way(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """ENOMEM from each call in turn: refused, with all of the old state in force, no pin and no descriptor more than
    before; or, after the switch, done. The next load succeeds.
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
        before = descriptors()
        memory.refuse(step)
        error, note = attempt(bench, new)
        refused = memory.refused
        memory.refuse(0)
        if error:
            assert "memory" in error, refused
            bench.assert_is(old)
            refusals += 1
        elif refused:
            # In force already: then all of it, whatever is still to be taken away.
            policies = bench.policies()
            assert [policies[interface] for interface in new.interfaces] == [new.policy] * len(new.interfaces), refused
            assert "memory" in note
            done += 1
        bench.load(new)
        bench.assert_is(new)
        bench.load(old)
        bench.assert_is(old)
        assert descriptors() == before, refused
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
    """No descriptor, no memory, a failing device, at each call in turn: a failure (69), or the answer as it was.

    Never an empty one, by which a watch would repair what is whole, or status call a host undefended.
    """
    bench.load(State("a", ALL))
    engine, ruleset, read = bench.engine(), bench.rulesets["a"], READERS[name]
    memory = NoMemory(monkeypatch)
    for number in (errno.EMFILE, errno.ENOMEM, errno.EIO):
        answer, refusals = read(engine, ruleset), 0
        for step in itertools.count(1):
            before = descriptors()
            memory.refuse(step, number)
            try:
                assert read(engine, ruleset) == answer, memory.refused
            except UnavailableError as error:
                assert os.strerror(number) in error.message  # noqa: PT017 - an answer is as good
                refusals += 1
            refused = memory.refused
            memory.refuse(0)
            assert descriptors() == before, refused
            if not refused:
                break
        assert refusals


def attempt(bench: Bench, state: State) -> tuple[str, str]:
    """Load; the error, and what went less than well."""
    try:
        return "", bench.load(state)
    except ApplyError as error:
        return str(error), ""
