"""The nftables engine: fill a generation beside the one in force, switch, read back, delete the old one.

What a crash leaves behind is a generation that nothing leads to, either not yet or no longer. The next `apply` deletes
it. Live maps and chains are never edited.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geodrop.engine import underway
from geodrop.engine.api import ApplyReport, Difference, Interface, Observed, Scope, Total
from geodrop.errors import ApplyError, ConfigError, NotEnforcingError
from geodrop.nftables import bases, diff, names, readback, render
from geodrop.nftables.answers import Answers
from geodrop.nftables.model import Surplus
from geodrop.nftables.netlink import messages, uapi
from geodrop.nftables.netlink.connection import Connection
from geodrop.nftables.netlink.monitor import foreign_commits, muted
from geodrop.nftables.netlink.wire import portions
from geodrop.nftables.regions import tell_apart
from geodrop.nftables.trace import Trace
from geodrop.nftables.transactions import TRANSACTION, fill, no_table, raise_any, switched, take_away
from geodrop.nftables.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from geodrop.engine.api import KernelVerdict
    from geodrop.engine.probes import Probe
    from geodrop.nftables.bases import Kept
    from geodrop.nftables.model import Program, Rule, Snapshot
    from geodrop.nftables.overlay import Base
    from geodrop.nftables.readback import InForce
    from geodrop.ruleset.model import Ruleset

    Totals = Mapping[str, tuple[int, int]]


@dataclass
class StagedGeneration:
    """A generation that stands ready: `switch` puts it in force for a scope, in one transaction, and reads it back."""

    switch: Callable[[Scope], None]
    seconds: dict[str, float]
    note: str = ""


class NftablesEngine:
    """See engine.api.Engine. `clock` gives the time in seconds since the epoch."""

    name = "nftables"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def probe(self) -> None:
        """Raise PrivilegeError or UnavailableError, naming the missing piece, if this engine cannot work here."""
        with Connection() as connection:
            connection.ask([messages.get_generation()])

    def observe(self) -> Observed:
        """Read back what is in force; raises UnavailableError when something foreign has our names."""
        with Connection() as connection:
            found = readback.in_force(readback.read(connection))
        if found is None:
            return Observed()
        scope = found.scope
        interfaces = tuple(Interface(name, self.name, why=scope.why.get(name, "")) for name in scope.names)
        return Observed(found.generation, found.digest, interfaces)

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> ApplyReport:
        """Make the kernel match: fill, read back, switch, read back, delete the previous generation.

        Raises ApplyError with the previous generation still in force, and ConfigError without interfaces.
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
        self, ruleset: Ruleset, generation: int, kept: Kept | None = None, counter_totals: Totals | None = None
    ) -> Iterator[StagedGeneration]:
        """A generation beside the one in force, read back; the body has it switched to.

        Once the body has ended the previous generation is deleted; if it raises, that one is in force again and the
        new one gone. A generation that is in force already need not be filled, and can be switched to another scope.

        Where nothing is in force everything passes, so what was filled is switched to first and read back then.

        `kept` finds rulesets by their digest. Given that, the generation may be an overlay, if it differs from what is
        in force by little; the caller must compact it. Counters that are gone go on from `counter_totals`, by name.
        """
        seconds: dict[str, float] = {}
        with Connection() as connection, contextlib.ExitStack() as undo:
            before = readback.read(connection)
            current = readback.in_force(before)
            known = current is not None and (current.generation, current.digest) == (generation, ruleset.digest)
            stays = _standing(current)
            base: Base | None = None
            filled: Program | None = None
            if not known:
                with _timed(seconds, "fill"), muted(connection):
                    base = bases.found(before, current, ruleset, kept) if before and current and kept else None
                    filled = render.build(ruleset, generation, (), int(self._clock()), base)
                    if before:
                        self._delete_generations(connection, before, stays)
                    stays = {generation, *([base.generation] if base else [])}
                    undo.callback(self._discard, connection, filled, before)
                    self._fill(connection, filled, before, counter_totals or {})
            if filled and current:
                with _timed(seconds, "verify"):
                    self._verify_filled(connection, filled, ruleset, base)

            def switch(scope: Scope) -> None:
                rules = render.switch(generation, scope)
                base_rules = render.switch(current.generation, current.scope) if current else ()
                if known and rules == base_rules:
                    return
                has_base = before is not None and names.BASE in before.chains
                with _timed(seconds, "switch"):
                    connection.transaction(switched(rules, before))
                    undo.callback(self._switch_back, connection, base_rules, has_base=has_base)
                with _timed(seconds, "verify"):
                    self._verify_switch(connection, rules)
                    if filled and not current:
                        self._verify_filled(connection, filled, ruleset, base)

            staged = StagedGeneration(switch, seconds)
            yield staged
            undo.pop_all()
            with _timed(seconds, "delete"):
                # Read anew: what a killed loader left was deleted before the fill, and cannot be deleted twice.
                if before and (now := readback.read(connection)):
                    staged.note = self._delete_generations(connection, now, stays)

    def verify(self, ruleset: Ruleset, *, full: bool = True) -> list[Difference]:
        """Compare the kernel with the ruleset it should hold; empty: they agree. Not full: all but the elements."""
        with Connection() as connection:
            snapshot = readback.read(connection)
            found = readback.in_force(snapshot)
            if snapshot is None or found is None:
                return [Difference(f"table inet {names.TABLE}", f"ruleset {ruleset.digest[:12]}", "nothing in force")]
            entry = f"chain {names.generation_chain(found.generation)}"
            if found.stamp is None or found.digest != ruleset.digest:
                return [Difference(entry, f"digest {ruleset.digest}", f"digest {found.digest or 'none'}")]
            base, gone = bases.in_force(snapshot, found)
            if gone:
                return gone
            expected = render.build(ruleset, found.generation, (), found.stamp.loaded, base, regions=found.regions)
            base_chain = render.base_chain(render.switch(found.generation, found.scope))
            differences = diff.structure(expected, base_chain, snapshot)
            for map_ in expected.maps if full else ():
                if map_.header.name in snapshot.maps:
                    differences += bases.content(connection, map_)
            return differences

    def sweep(self, ruleset: Ruleset) -> None:
        """Take away what is in our table and should not be, and nothing else; raises ApplyError if that cannot be."""
        with Connection() as connection:
            snapshot = readback.read(connection)
            found = readback.in_force(snapshot)
            if snapshot is None or found is None or found.stamp is None:
                return
            base, _ = bases.in_force(snapshot, found)
            expected = render.build(ruleset, found.generation, (), found.stamp.loaded, base, regions=found.regions)
            take_away(connection, diff.surplus(expected, snapshot), snapshot)

    def foreign_commits(self) -> int:
        """While it stays the same, nobody but this process has committed anything to nf_tables."""
        with Connection() as connection:
            return foreign_commits(connection)

    def verify_share(self, ruleset: Ruleset, part: int, parts: int) -> list[Difference]:
        """Compare the elements of one of so many parts of the maps."""
        with Connection() as connection:
            snapshot = readback.read(connection)
            found = readback.in_force(snapshot)
            if snapshot is None or found is None or found.stamp is None:
                return []
            base, gone = bases.in_force(snapshot, found)
            if gone:
                return gone
            whole = render.build(ruleset, found.generation, (), found.stamp.loaded, base, regions=found.regions)
            maps = whole.maps[part::parts]
            return [difference for map_ in maps for difference in bases.content(connection, map_)]

    def fingerprint(self) -> bytes:
        """Tables, chains, rules and maps as the kernel tells them."""
        with Connection() as connection:
            return readback.fingerprint(connection)

    def tell_regions_apart(self, ruleset: Ruleset) -> bool:
        """Count by region what the ruleset in force counts as `other`, as far as it has maps for that.

        False if there is nothing to do. Raises ApplyError with everything counted as `other`, as before.
        """
        with Connection() as connection:
            return tell_apart(connection, ruleset)

    def tells_regions_apart(self) -> bool:
        """Whether what is in force has a second map for that."""
        with Connection() as connection:
            found = readback.in_force(readback.read(connection))
        return found is not None and found.regions

    def is_overlay(self) -> bool:
        """Whether what is in force stands on the maps of an older generation."""
        with Connection() as connection:
            found = readback.in_force(readback.read(connection))
        return found is not None and found.base is not None

    def totals(self) -> Totals:
        """Packets and bytes of each counter, by its name; empty if there is no table."""
        with Connection() as connection:
            return readback.counters(connection) if readback.read_table(connection) is not None else {}

    def counters(self) -> list[Total]:
        """Totals since the first load, ordered by service, label and family."""
        totals = self.totals()
        counts: dict[tuple[str, str, str], Total] = {}
        for text, total in sorted(totals.items()):
            if name := names.counter(text):
                key = (name.service, name.label or "", name.family)
                count = counts.setdefault(key, Total(name.service, name.family, name.label))
                counts[key] = replace(count, **{name.what: total})  # type: ignore[arg-type]  # names.counter checks it
        return [counts[key] for key in sorted(counts)]

    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Ask the kernel's tables, for each address a verdict for each service; raises NotEnforcingError."""
        with Connection() as connection:
            snapshot = readback.read(connection)
            found = readback.in_force(snapshot)
            if snapshot is None or found is None:
                raise NotEnforcingError("nothing is in force in the kernel", "load a ruleset: geodrop load FILE")
            services = [service.name for service in ruleset.meta.services]
            now = self._clock()
            answers = _asked(connection, snapshot, found, addresses)
            return [
                [Walk(answers, snapshot, address, now).through(service, found.generation) for service in services]
                for address in addresses
            ]

    def trace(self, probes: Sequence[Probe], links: Mapping[int, str]) -> dict[str, list[str]]:
        """What becomes of each packet, by the name of the link that it arrives on; `links` are names by number."""
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

    def exempt(self) -> tuple[int, ...]:
        """Numbers of the interfaces whose packets are let pass, since xdp has judged them."""
        with Connection() as connection:
            found = readback.in_force(readback.read(connection))
        return found.scope.elsewhere if found else ()

    def retire(self) -> bool:
        """Judge nothing any more, but keep the counters; False if nothing was in force."""
        with Connection() as connection:
            snapshot = readback.read(connection)
            if snapshot is None or names.BASE not in snapshot.chains:
                return False
            connection.transaction([messages.delete_rules(names.BASE), messages.delete_chain(names.BASE)])
            # What cannot be deleted now judges nothing, and is left to whoever fills or removes next.
            self._delete_generations(connection, snapshot, set())
        return True

    def remove(self) -> bool:
        """Remove all that is ours and nothing else; False if there was nothing."""
        with Connection() as connection:
            if readback.read_table(connection) is None:
                return False
            connection.transaction([messages.delete_table()])
        return True

    def _fill(self, connection: Connection, new: Program, before: Snapshot | None, totals: Totals) -> None:
        for requests in portions(fill(new, before, totals), min(TRANSACTION, connection.capacity // 2)):
            underway.go_on()
            connection.transaction(requests)

    def _verify_filled(self, connection: Connection, new: Program, ruleset: Ruleset, base: Base | None) -> None:
        self._verify_generation(connection, new)
        if base:
            together = render.build(ruleset, new.generation, (), 0, replace(base, delta=None))
            raise_any(bases.differences(connection, together))

    def _verify_generation(self, connection: Connection, new: Program) -> None:
        snapshot = readback.read(connection)
        differences = list(diff.generation(new, snapshot)) if snapshot else [no_table()]
        for map_ in new.maps:
            underway.go_on()
            differences += diff.content(map_, readback.dump_elements(connection, map_.header.name))
        raise_any(differences)

    def _verify_switch(self, connection: Connection, rules: tuple[Rule, ...]) -> None:
        base = render.base_chain(rules)
        _, flags = readback.read_table(connection) or ("", 0)
        raise_any([*diff.chain_differences(base, readback.read_base(connection)), *diff.flags(flags)])

    def _delete_generations(self, connection: Connection, snapshot: Snapshot, kept: set[int]) -> str:
        """Delete all but these generations and the base chain, whoever made it.

        What cannot be deleted is left to the next `apply`; says what.
        """
        chains = [name for name in snapshot.chains if name != names.BASE and names.generation_of(name) not in kept]
        sets = [name for name in (*snapshot.maps, *snapshot.sets) if names.generation_of(name) not in kept]
        return self._delete(
            connection, Surplus(tuple(chains), tuple(sets), snapshot.objects, snapshot.flowtables), snapshot
        )

    def _delete(self, connection: Connection, surplus: Surplus, snapshot: Snapshot) -> str:
        try:
            take_away(connection, surplus, snapshot)
        except ApplyError as error:
            return f"left for the next load to delete: {error.message}"
        return ""

    def _discard(self, connection: Connection, new: Program, before: Snapshot | None) -> None:
        """Remove what a failed apply made. What cannot be removed is not in force, and left to the next one."""
        with contextlib.suppress(ApplyError):
            if before is None:
                if readback.read_table(connection) is not None:
                    connection.transaction([messages.delete_table()])
                return
            now = readback.read(connection)
            if now is None:
                return
            chains = [name for name in now.chains if names.generation_of(name) == new.generation]
            maps = [name for name in now.maps if names.generation_of(name) == new.generation]
            self._delete(connection, Surplus(tuple(chains), tuple(maps)), now)
            made = [name for name in new.counters if name in now.counters and name not in before.counters]
            connection.transaction(map(messages.delete_counter, made))

    def _switch_back(self, connection: Connection, rules: tuple[Rule, ...], *, has_base: bool) -> None:
        """Put the previous generation back in force, if the new one is."""
        if readback.read_base(connection) is None:
            return
        requests = [messages.delete_rules(names.BASE)]
        if has_base:
            requests += messages.new_rules(names.BASE, rules, itertools.count(1))
        else:
            requests.append(messages.delete_chain(names.BASE))
        connection.transaction(requests)


def _asked(connection: Connection, snapshot: Snapshot, found: InForce | None, addresses: Iterable[str]) -> Answers:
    """What is in force, asked about addresses all at once."""
    answers, stands = Answers(connection), _standing(found)
    maps = [one for one in snapshot.maps.values() if names.generation_of(one.name) in stands]
    answers.ask_ahead(
        [one for one in maps if not names.is_region_map(one.name)],
        [ipaddress.ip_address(address).packed for address in addresses],
    )
    return answers


def _standing(current: InForce | None) -> set[int]:
    """The generations that what is in force is made of."""
    return {number for number in (current.generation, current.base) if number is not None} if current else set()


@contextlib.contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start
