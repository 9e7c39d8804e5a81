# SPDX-License-Identifier: Apache-2.0
"""The nftables engine: fill a generation beside the one in force, switch, read back, delete the old one.

A crash leaves behind at most a generation that no rule leads to: one not yet switched to, or one already replaced. The
next `apply` deletes it. Live maps and chains are never edited.
"""

from __future__ import annotations

import contextlib
import ipaddress
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from geodrop.engine import underway
from geodrop.engine.api import ApplyReport, Difference, Interface, Observed, Scope, Total
from geodrop.errors import ApplyError, ConfigError, NotEnforcingError
from geodrop.linux.clock import monotonic
from geodrop.nftables import bases, diff, exempt, names, readback, render
from geodrop.nftables.answers import Answers
from geodrop.nftables.expected import digests, expected
from geodrop.nftables.model import Surplus
from geodrop.nftables.netlink import messages, uapi
from geodrop.nftables.netlink.connection import Connection
from geodrop.nftables.netlink.monitor import foreign_commits, muted
from geodrop.nftables.netlink.wire import portions
from geodrop.nftables.regions import tell_apart
from geodrop.nftables.switch import Switch, switch_back
from geodrop.nftables.trace import Trace
from geodrop.nftables.transactions import TRANSACTION, fill, no_table, raise_any, take_away
from geodrop.nftables.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from geodrop.engine.api import KernelVerdict, Undo
    from geodrop.engine.exempt import ExemptSource, Network
    from geodrop.engine.probes import Probe
    from geodrop.nftables.bases import Kept
    from geodrop.nftables.model import Program, Snapshot
    from geodrop.nftables.overlay import Base
    from geodrop.nftables.readback import InForce
    from geodrop.ruleset.model import Ruleset

    Totals = Mapping[str, tuple[int, int]]


class Switching(Protocol):
    """Puts a generation in force; see StagedGeneration."""

    def __call__(self, scope: Scope, deadline: int = 0) -> None:
        """Raises ApplyError; what was in force before is restored by the `with` of `staged`."""


@dataclass
class StagedGeneration:
    """A filled generation. `switch` puts it in force for a scope, in one transaction, and reads that back.

    A generation that is not confirmed is switched to until a deadline, in nanoseconds of the kernel's CLOCK_MONOTONIC.
    """

    switch: Switching
    seconds: dict[str, float]
    note: str = ""


class NftablesEngine:
    """See engine.api.Engine. `clock` gives the time in seconds since the epoch.

    A table that this engine makes lets the sources in `exempt` pass from the beginning.
    """

    name = "nftables"

    def __init__(self, clock: Callable[[], float] = time.time, exempt: Sequence[ExemptSource] = ()) -> None:
        self._clock = clock
        self.exempt = exempt

    def probe(self) -> None:
        """Check that this engine can work here. Raises PrivilegeError or UnavailableError, naming the missing piece."""
        with Connection() as connection:
            connection.ask([messages.get_generation()])

    def observe(self) -> Observed:
        """Read back what is in force. Raises UnavailableError if a table of our name is not ours."""
        with Connection() as connection:
            found = readback.in_force(readback.read(connection))
        if found is None:
            return Observed()
        scope = found.scope
        interfaces = tuple(Interface(name, self.name, why=scope.why.get(name, "")) for name in scope.names)
        return Observed(found.generation, found.digest, interfaces, found.observed_window())

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Make the kernel match a ruleset: fill, read back, switch, read back, delete the previous generation.

        Raises ApplyError; the previous generation is then still in force. Raises ConfigError without interfaces.
        """
        if not interfaces:
            raise ConfigError("no interface to judge packets on", "name one with --interface, or in agent.yaml")
        current = self.observe().generation
        if current >= generation:
            raise ApplyError(f"generation {current} is in force already", "take a higher number")
        with self.staged(ruleset, generation) as staged:
            staged.switch(Scope(tuple(interfaces)))
        return ApplyReport(generation, staged.seconds, staged.note)

    @contextlib.contextmanager
    def staged(
        self,
        ruleset: Ruleset,
        generation: int,
        kept: Kept | None = None,
        counter_totals: Totals | None = None,
        undo: Undo | None = None,
    ) -> Iterator[StagedGeneration]:
        """Fill a generation beside the one in force and read it back; the body of the `with` switches to it.

        If the body ends normally, the previous generation is deleted. If it raises, the previous generation is in force
        again and the new one is deleted. A generation that is already in force is not filled again; it can be switched
        to another scope.

        If nothing is in force, all packets pass. So the new generation is then switched to first and read back
        afterwards.

        `kept` finds rulesets by their digest. With it, the generation may be an overlay if it differs little from what
        is in force; the caller must compact it. Lost counters continue from `counter_totals`, by name.

        With `undo`, what it names stays too, or is filled as well, and is in force from the deadline on. Without it, a
        window that is open ends with the switch: if the generation is the one that is not confirmed, the switch fails
        once the kernel has gone back.
        """
        seconds: dict[str, float] = {}
        with Connection() as connection, contextlib.ExitStack() as stack:
            before = readback.read(connection)
            current = readback.in_force(before)
            led_to = current.led_to if current else {}
            if undo and current and current.base is not None:
                raise ApplyError("an overlay is in force, which nothing can go back to", "try again in a moment")
            wanted = {generation: ruleset} | ({undo.generation: undo.ruleset} if undo and undo.ruleset else {})
            missing = {number: one for number, one in wanted.items() if led_to.get(number) != one.digest}
            stays = _standing(current)
            base: Base | None = None
            filled: list[Program] = []
            if missing:
                with _timed(seconds, "fill"), muted(connection):
                    base = bases.found(before, current, ruleset, kept) if before and current and kept else None
                    now = int(self._clock())
                    filled = [render.build(one, number, (), now, base) for number, one in missing.items()]
                    if before:
                        there = names.window(current.window.new.generation) if current and current.window else ""
                        self._delete_generations(connection, before, stays, there)
                    stays = {*wanted, *([base.generation] if base else [])}
                    stack.callback(self._discard, connection, filled, before)
                    self._fill(connection, filled, before, counter_totals or {})
            elif current and current.base is not None:
                stays = {generation, current.base}
            else:
                stays = set(wanted)
            in_force = current is not None and current.generation > 0
            if filled and in_force:
                with _timed(seconds, "verify"):
                    self._verify_filled(connection, filled, ruleset, base)

            def switch(scope: Scope, deadline: int = 0) -> None:
                to = Switch(generation, scope, undo.generation if undo else None, deadline)
                if not (requests := list(to.requests(before, current))):
                    return
                with _timed(seconds, "switch"):
                    connection.transaction(requests)
                    stack.callback(switch_back, connection, before, current)
                with _timed(seconds, "verify"):
                    to.correct_end(connection)
                    raise_any(to.differences(connection))
                    if filled and not in_force:
                        self._verify_filled(connection, filled, ruleset, base)

            staged = StagedGeneration(switch, seconds)
            yield staged
            stack.pop_all()
            with _timed(seconds, "delete"):
                # Read the table again: what a killed loader left was deleted before the fill, and cannot be deleted
                # twice.
                if before and (now_there := readback.read(connection)):
                    window = names.window(generation) if undo else ""
                    staged.note = self._delete_generations(connection, now_there, stays, window)

    def verify(self, ruleset: Ruleset, *, full: bool = True, undo: Undo | None = None) -> list[Difference]:
        """Compare the kernel with the ruleset it should hold; an empty list means they agree. Elements only if `full`.

        `undo` as for engine.api.Enforced.
        """
        with Connection() as connection:
            snapshot = readback.read(connection)
            found = readback.in_force(snapshot)
            if snapshot is None or found is None:
                return [Difference(f"table inet {names.TABLE}", f"ruleset {ruleset.digest[:12]}", "nothing in force")]
            if (found.window is not None) == (undo is not None) and (wrong := digests(found, ruleset, undo)):
                return wrong
            wanted, differences = expected(snapshot, found, ruleset, undo)
            if wanted is None:
                return differences
            differences = wanted.differences(snapshot)
            for map_ in wanted.maps if full else ():
                if map_.header.name in snapshot.maps:
                    differences += bases.content(connection, map_)
            return differences

    def sweep(self, ruleset: Ruleset, undo: Undo | None = None) -> None:
        """Delete from our table what should not be there, and nothing else. Raises ApplyError if that fails."""
        with Connection() as connection:
            snapshot = readback.read(connection)
            found = readback.in_force(snapshot)
            if snapshot is None or found is None:
                return
            if wanted := expected(snapshot, found, ruleset, undo)[0]:
                take_away(connection, wanted.surplus(snapshot), snapshot)

    def foreign_commits(self) -> int:
        """Return a number that changes when another process commits to nf_tables."""
        with Connection() as connection:
            return foreign_commits(connection)

    def verify_share(self, ruleset: Ruleset, part: int, parts: int, undo: Undo | None = None) -> list[Difference]:
        """Compare the elements of part `part` (from 0) of `parts` of the maps; all parts together are all maps."""
        with Connection() as connection:
            snapshot = readback.read(connection)
            found = readback.in_force(snapshot)
            if snapshot is None or found is None:
                return []
            wanted, differences = expected(snapshot, found, ruleset, undo)
            if wanted is None:
                return differences
            maps = wanted.maps[part::parts]
            return [difference for map_ in maps for difference in bases.content(connection, map_)]

    def fingerprint(self) -> bytes:
        """Return a hash of tables, chains, rules and maps as the kernel describes them (see `readback.fingerprint`)."""
        with Connection() as connection:
            return readback.fingerprint(connection)

    def count_regions(self, ruleset: Ruleset) -> bool:
        """Count by region what the ruleset in force counts as `other`, as far as the ruleset has maps for that.

        Return False if there is nothing to do. Raises ApplyError; everything is then counted as `other`, as before.
        """
        with Connection() as connection:
            return tell_apart(connection, ruleset)

    def tells_regions_apart(self) -> bool:
        """Tell whether the generation in force counts by region what would else count as `other`."""
        with Connection() as connection:
            found = readback.in_force(readback.read(connection))
        return found is not None and found.regions

    def is_overlay(self) -> bool:
        """Tell whether the generation in force is an overlay: it stands on the maps of an older generation."""
        with Connection() as connection:
            found = readback.in_force(readback.read(connection))
        return found is not None and found.base is not None

    def totals(self) -> Totals:
        """Return packets and bytes of each counter, by its name; empty if there is no table."""
        with Connection() as connection:
            return readback.counters(connection) if readback.read_table(connection) is not None else {}

    def counters(self) -> list[Total]:
        """Return the totals since the first load, ordered by service, label and family."""
        totals = self.totals()
        counts: dict[tuple[str, str, str], Total] = {}
        for text, total in sorted(totals.items()):
            if name := names.counter(text):
                key = (name.service, name.label or "", name.family)
                count = counts.setdefault(key, Total(name.service, name.family, name.label))
                counts[key] = replace(count, **{name.what: total})  # type: ignore[arg-type]  # names.counter checks it
        return [counts[key] for key in sorted(counts)]

    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Look up addresses in the kernel's tables: for each address one verdict for each service, in order. Raises
        NotEnforcingError if nothing is in force.
        """
        with Connection() as connection:
            snapshot = readback.read(connection)
            found = readback.in_force(snapshot)
            if snapshot is None or found is None or not found.generation:
                raise NotEnforcingError("nothing is in force in the kernel", "load a ruleset: geodrop load FILE")
            services = [service.name for service in ruleset.meta.services]
            now = self._clock()
            answers = _asked(connection, snapshot, found, addresses)
            return [
                [Walk(answers, snapshot, address, now).through(service, found.generation) for service in services]
                for address in addresses
            ]

    def trace(self, probes: Sequence[Probe], links: Mapping[int, str]) -> dict[str, list[str]]:
        """Return each packet's verdict, by the name of the link it arrives on;
        `links` maps interface numbers to names.
        """
        found: dict[str, list[str]] = {name: [] for name in links.values()}
        with Connection() as connection:
            if (snapshot := readback.read(connection)) is None:
                return {name: ["accept"] * len(probes) for name in found}
            dormant = snapshot.flags & uapi.NFT_TABLE_F_DORMANT
            answers = _asked(connection, snapshot, readback.in_force(snapshot), [str(one.source) for one in probes])
            for probe in probes:
                walk = Trace(answers, snapshot, probe, self._clock())
                for number, name in links.items():
                    found[name].append("accept" if dormant else walk.verdict(number, name))
        return found

    def put_exempt(self, sources: Sequence[ExemptSource]) -> None:
        """Let exactly these sources pass from now on. Raises ApplyError; nothing is changed then."""
        with Connection() as connection:
            if snapshot := readback.read(connection):
                exempt.put(connection, list(snapshot.own_sets.values()), sources)

    def verify_exempt(self, sources: Sequence[ExemptSource]) -> list[Difference]:
        """Compare the exempt sources in the kernel with these."""
        with Connection() as connection:
            return exempt.verify(connection, sources) if readback.in_force(readback.read(connection)) else []

    def exempt_totals(self, sources: Sequence[ExemptSource]) -> dict[Network, tuple[int, int]]:
        """Return packets and bytes that passed because of each of these sources."""
        with Connection() as connection:
            return exempt.totals(connection, sources)

    def left_to_xdp(self) -> tuple[int, ...]:
        """Return the numbers of the interfaces whose packets are accepted here because xdp has judged them."""
        with Connection() as connection:
            found = readback.in_force(readback.read(connection))
        return found.scope.elsewhere if found else ()

    def retire(self) -> bool:
        """Stop judging packets but keep the counters; return False if nothing was in force."""
        with Connection() as connection:
            snapshot = readback.read(connection)
            if snapshot is None or names.BASE not in snapshot.chains:
                return False
            connection.transaction([messages.delete_rules(names.BASE), messages.delete_chain(names.BASE)])
            # What cannot be deleted now judges nothing; the next fill or removal deletes it.
            self._delete_generations(connection, snapshot, set())
        return True

    def remove(self) -> bool:
        """Remove everything that is ours and nothing else; return False if there was nothing."""
        with Connection() as connection:
            if readback.read_table(connection) is None:
                return False
            connection.transaction([messages.delete_table()])
        return True

    def _fill(self, connection: Connection, new: Sequence[Program], before: Snapshot | None, totals: Totals) -> None:
        filled = fill(new, before, totals, exempt.intervals(self.exempt, monotonic()))
        for requests in portions(filled, min(TRANSACTION, connection.capacity // 2)):
            underway.go_on()
            connection.transaction(requests)

    def _verify_filled(
        self, connection: Connection, new: Sequence[Program], ruleset: Ruleset, base: Base | None
    ) -> None:
        snapshot = readback.read(connection)
        if snapshot is None:
            raise_any([no_table()])
            return
        differences = [one for program in new for one in diff.generation(program, snapshot)]
        for map_ in (map_ for program in new for map_ in program.maps):
            underway.go_on()
            differences += diff.content(map_, readback.dump_elements(connection, map_.header.name))
        raise_any(differences)
        if base:
            together = render.build(ruleset, new[0].generation, (), 0, replace(base, delta=None))
            raise_any(bases.differences(connection, together))

    def _delete_generations(self, connection: Connection, snapshot: Snapshot, kept: set[int], window: str = "") -> str:
        """Delete all chains, maps and sets, ours or not, except the base chain, the generations in `kept` and `window`.

        What cannot be deleted is left to the next `apply`; the returned text names it.
        """
        chains = [name for name in snapshot.chains if name != names.BASE and names.generation_of(name) not in kept]
        sets = [name for name in (*snapshot.maps, *snapshot.sets) if names.generation_of(name) not in kept]
        sets += [name for name in snapshot.windows if name != window]
        return self._delete(
            connection, Surplus(tuple(chains), tuple(sets), snapshot.objects, snapshot.flowtables), snapshot
        )

    def _delete(self, connection: Connection, surplus: Surplus, snapshot: Snapshot) -> str:
        try:
            take_away(connection, surplus, snapshot)
        except ApplyError as error:
            return f"left for the next load to delete: {error.message}"
        return ""

    def _discard(self, connection: Connection, new: Sequence[Program], before: Snapshot | None) -> None:
        """Remove what a failed apply made. What cannot be removed is not in force; the next apply deletes it."""
        with contextlib.suppress(ApplyError):
            if before is None:
                if readback.read_table(connection) is not None:
                    connection.transaction([messages.delete_table()])
                return
            now = readback.read(connection)
            if now is None:
                return
            numbers = {program.generation for program in new}
            chains = [name for name in now.chains if names.generation_of(name) in numbers]
            sets = [name for name in (*now.maps, *now.windows) if names.generation_of(name) in numbers]
            self._delete(connection, Surplus(tuple(chains), tuple(sets)), now)
            wanted = dict.fromkeys(name for program in new for name in program.counters)
            made = [name for name in wanted if name in now.counters and name not in before.counters]
            connection.transaction(map(messages.delete_counter, made))


def _asked(connection: Connection, snapshot: Snapshot, found: InForce | None, addresses: Iterable[str]) -> Answers:
    """Prepare lookups in the maps in force, and ask about all addresses at once."""
    answers, stands = Answers(connection), _standing(found)
    maps = [one for one in snapshot.maps.values() if names.generation_of(one.name) in stands]
    answers.ask_ahead(
        [one for one in maps if not names.is_region_map(one.name)],
        [ipaddress.ip_address(address).packed for address in addresses],
    )
    return answers


def _standing(current: InForce | None) -> set[int]:
    """Return the numbers of the generations that must stay: an overlay and its base, both of a window, or one."""
    return {*current.led_to, *(() if current.base is None else (current.base,))} if current else set()


@contextlib.contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start
