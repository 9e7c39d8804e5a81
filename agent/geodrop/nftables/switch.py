# SPDX-License-Identifier: Apache-2.0
"""Lead packets to a generation, in one transaction; open, prolong or end a window with it; and undo all of that.

In a window the base chain asks a set with one element, `g42.window`. When the kernel lets the element expire, packets
go to the generation before, with no process running. No clock setting moves that.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import ApplyError
from geodrop.linux import clock
from geodrop.nftables import diff, names, readback, render
from geodrop.nftables.netlink import messages, windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from geodrop.engine.api import Difference, Scope
    from geodrop.nftables.model import Expiry, Rule, Snapshot
    from geodrop.nftables.netlink.connection import Connection
    from geodrop.nftables.netlink.wire import NetlinkRequest
    from geodrop.nftables.readback import InForce

MILLISECOND = 1_000_000
CORRECTIONS = 20
"""Times to correct the end of a window before the switch fails."""


@dataclass(frozen=True, slots=True)
class Switch:
    """What packets should be led to from now on.

    With `previous` the generation is not confirmed: at `deadline`, in nanoseconds of the kernel's CLOCK_MONOTONIC, the
    generation of that number judges again (0: none).
    """

    generation: int
    scope: Scope
    previous: int | None = None
    deadline: int = 0

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of the base chain."""
        return render.switch(self.generation, self.scope, self.previous)

    @property
    def window(self) -> str:
        """The name of the set that ends the generation; empty without a window."""
        return "" if self.previous is None else names.window(self.generation)

    def requests(self, before: Snapshot | None, current: InForce | None) -> Iterator[NetlinkRequest]:
        """Yield one transaction; nothing if all is as it should be.

        Confirming deletes the element, which the kernel refuses with ENOENT if it has expired. Raises ApplyError if
        that is known already.
        """
        if self.window:
            yield from opened(self.window, before.windows if before else {}, self.deadline)
        elif current and current.window and current.window.new.generation == self.generation:
            if current.window.expiry is None:
                raise ApplyError(f"too late: the kernel has gone back from generation {self.generation}")
            yield windows.delete_element(names.window(self.generation))
        if self.rules != rules_of(current):
            yield from _replaced(self.rules, before)

    def correct_end(self, connection: Connection) -> None:
        """Set the end of the window again where it is not at the deadline.

        The kernel is told how long an element lasts, so a process that is held up before it tells, as on a busy host,
        sets a later end. Raises ApplyError.
        """
        for _ in range(CORRECTIONS if self.window else 0):
            expiry = readback.read_expiry(connection, self.window)
            requests = list(opened(self.window, {self.window: expiry}, self.deadline)) if expiry else []
            if not requests:
                break
            connection.transaction(requests)

    def differences(self, connection: Connection) -> list[Difference]:
        """Read back what this switched, and compare."""
        _, flags = readback.read_table(connection) or ("", 0)
        base = render.base_chain(self.rules)
        found = [*diff.chain_differences(base, readback.read_base(connection)), *diff.flags(flags)]
        if self.window and not found:
            expiry = readback.read_expiry(connection, self.window)
            found += diff.expiry(self.window, expiry, self.deadline, clock.monotonic())
        return found


def rules_of(current: InForce | None) -> tuple[Rule, ...]:
    """Return the rules of the base chain for what is in force."""
    if current is None:
        return ()
    if window := current.window:
        return render.switch(window.new.generation, current.scope, window.previous.generation)
    return render.switch(current.generation, current.scope)


def switch_back(connection: Connection, before: Snapshot | None, current: InForce | None) -> None:
    """Restore what was in force, with the rest of a window's time, if the base chain still exists."""
    if readback.read_base(connection) is None:
        return
    requests = [messages.delete_rules(names.BASE)]
    if before and names.BASE in before.chains:
        requests += messages.new_rules(names.BASE, rules_of(current), itertools.count(1))
    else:
        requests.append(messages.delete_chain(names.BASE))
    if current and current.window and (expiry := current.window.expiry):
        name = names.window(current.window.new.generation)
        requests += opened(name, {name: readback.read_expiry(connection, name)}, expiry.earliest)
    connection.transaction(requests)


def opened(name: str, known: Mapping[str, Expiry | None], deadline: int) -> Iterator[NetlinkRequest]:
    """Make a window end at a deadline, unless it does already; `known` has the windows that exist.

    Once the deadline has passed, no element is added: it would put the newer generation in force again.
    """
    if name not in known:
        yield windows.new_window(name)
    expiry = known.get(name)
    left = (deadline - clock.monotonic()) // MILLISECOND
    if left < 1 or (expiry and expiry.is_at(deadline)):
        return
    if expiry:
        yield windows.delete_element(name)
    yield windows.add_element(name, left)


def _replaced(rules: tuple[Rule, ...], before: Snapshot | None) -> Iterator[NetlinkRequest]:
    """Replace the rules of the base chain; make the chain if it does not exist, or not as it should.

    The kernel changes neither hook nor priority of a chain. What another program made of ours would stay for ever.
    """
    if before and before.flags:
        yield messages.wake_table()
    found = before.chains.get(names.BASE) if before else None
    if found:
        yield messages.delete_rules(names.BASE)
    if not found or found.hook != render.HOOK:
        if found:
            yield messages.delete_chain(names.BASE)
        yield messages.new_chain(render.base_chain())
    yield from messages.new_rules(names.BASE, rules, itertools.count(1))
