"""A load that fails half way, at whatever call, changes nothing and leaves nothing behind."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.dataplane.xdp import libbpf
from geodrop.errors import ApplyError
from tests.kernel.dataplane.xdp.states import LOADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.dataplane.xdp.states import Bench, State

pytestmark = [pytest.mark.root, pytest.mark.slow]

LONG = os.environ.get("GEODROP_TEST_LONG") == "1"


class NoMemory:
    """Counts the calls through which an engine asks the kernel for anything, and refuses one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.refused: object = None
        self._at = 0
        for owner, name in ((libbpf, "call"), (libbpf, "map_memory"), (Path, "mkdir")):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def refuse(self, at: int) -> None:
        """From now on count from 1, and refuse that one; 0: none."""
        self.asked, self._at, self.refused = 0, at, None

    def _counting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: object, **options: object) -> Any:  # noqa: ANN401 - whatever the real one does
            self.asked += 1
            if self.asked == self._at:
                self.refused = (real.__name__, *arguments)
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
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


def attempt(bench: Bench, state: State) -> tuple[str, str]:
    """Load; the error, and what went less than well."""
    try:
        return "", bench.load(state)
    except ApplyError as error:
        return str(error), ""
