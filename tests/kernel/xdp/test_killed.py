# SPDX-License-Identifier: Apache-2.0
"""A loader killed by SIGKILL before any call that changes something leaves the whole old or the whole new policy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.kernel.xdp.states import LOADS
from tests.support.ptrace import Call, killed_before

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.kernel.xdp.states import Bench


pytestmark = [pytest.mark.root, pytest.mark.slow]

LONG = os.environ.get("GEODROP_TEST_LONG") == "1"
"""Test every point of every load (`make test-long`), not only some."""

# enum bpf_cmd: the commands that change something (maps, elements, programs, pins, links).
CHANGES = {0, 2, 3, 5, 6, 28, 29}
READ_WRITE, SHARED = 3, 1


SOME = 5
"""Points tried in a short run if a program is loaded, which takes a second in the kernel;
the last point is included.
"""


def changes(call: Call) -> bool:
    """Tell whether other processes could see a call's effect. Mapped memory is written before the next such call."""
    if call.name == "bpf":
        return call.arguments[0] in CHANGES
    if call.name == "mmap":
        return call.arguments[2:4] == (READ_WRITE, SHARED)
    return True


@pytest.mark.parametrize("name", LOADS)
def test_a_killed_load_leaves_old_or_new(bench: Bench, name: str) -> None:
    """After a kill before each call in turn, a whole policy judges on every interface.

    The next load completes the change and leaves nothing of the killed one.
    """
    old, new = LOADS[name]
    for state in (old, new, old):
        bench.load(state)  # things found out or made only once are done; the calls of a load are the same from here on
        bench.assert_is(state)
    points = calls_of(lambda: bench.load(new))
    steps: Sequence[int] = range(1, points + 1)
    if not LONG and (not old.policy or old.version != new.version):
        steps = [points * number // SOME for number in range(1, SOME + 1)]
    seen: set[str] = set()
    for step in steps:
        bench.load(old)
        bench.assert_is(old)
        assert killed_before(step, changes, lambda: bench.load(new)), "it ended before it could be killed"
        bench.assert_between(old, new)
        seen.add(bench.policies()["eth0"])
        bench.load(new)
        bench.assert_is(new)
    assert seen <= {old.policy, new.policy}
    # A first load has nothing to remove, so its switch may be its last call.
    assert not old.policy or seen == {old.policy, new.policy}, "killed only before the switch, or only after it"


def calls_of(action: Callable[[], object]) -> int:
    """Return the number of calls of an action that change something."""
    made = 0

    def counted(call: Call) -> bool:
        nonlocal made
        made += changes(call)
        return False

    assert killed_before(1, counted, action) is None
    return made
