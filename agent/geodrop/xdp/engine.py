# SPDX-License-Identifier: Apache-2.0
"""The XDP engine: make the kernel match a ruleset, read it back, and remove it."""

from __future__ import annotations

import os
import random
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from geodrop.engine.api import TICKS, Difference, Interface, KernelVerdict, Observed, Total, Window
from geodrop.errors import ApplyError, NotEnforcingError, PrivilegeError, UnavailableError
from geodrop.linux import capabilities, clock, libbpf
from geodrop.xdp import encode, exempt, links, lookup, memory, requirements
from geodrop.xdp import layout as lay
from geodrop.xdp.control import NOT_SET, Control
from geodrop.xdp.libbpf_loader import LibbpfLoader
from geodrop.xdp.loader import Loader, Sizes
from geodrop.xdp.pins import Pins, remove_set, version_of
from geodrop.xdp.program_set import ProgramSet, Totals
from geodrop.xdp.reading import reading
from geodrop.xdp.slots import Wanted, room_for
from geodrop.xdp.staged import StagedPrograms, discard
from geodrop.xdp.trace import trace
from geodrop.xdp.unread import Unread, unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.engine.api import Undo
    from geodrop.engine.exempt import ExemptSource, Network
    from geodrop.engine.probes import Probe
    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.control import ControlWord
    from geodrop.xdp.slots import Place

TRIALS = 1_000
"""Lookups that the program itself makes in new tables before they are published."""


LAYOUT = f"{lay.LAYOUT_VERSION:02x}"
"""The first digits of a set's version. Control word, labels and counters are read alike whatever the layout."""


class XdpEngine:
    """Implements engine.api.Engine for the network namespace of the calling thread.

    A program that this engine loads lets the sources in `exempt` pass from the beginning.
    """

    name = "xdp"

    def __init__(
        self,
        loader: Loader | None = None,
        pins: Pins | None = None,
        attach: tuple[str, ...] = ("native", "generic"),
        exempt: Sequence[ExemptSource] = (),
    ) -> None:
        self.loader = loader or LibbpfLoader()
        self._pins = pins
        self.attach = attach
        self.exempt = exempt

    @property
    def pins(self) -> Pins:
        """Where this namespace's objects are pinned."""
        return self._pins or Pins.default()

    def probe(self) -> None:
        """Check that this engine can work here. Raises PrivilegeError or UnavailableError, naming the missing piece."""
        libbpf.library()
        capabilities.require(capabilities.XDP)
        self.pins.check()
        self._version()
        try:
            os.close(libbpf.create_array("geodrop_probe", 8, 1))
        except PermissionError as error:
            raise PrivilegeError(
                "the kernel does not let us create BPF maps, whatever capabilities we have",
                "leave the user namespace or the sandbox (SystemCallFilter=, lockdown) that forbids bpf(2)",
            ) from error
        except OSError as error:
            raise UnavailableError(
                f"this kernel has no mmap-able BPF arrays ({error.strerror})", "use --engine nftables"
            ) from error

    def unread(self) -> Unread | None:
        """Return what is pinned, if this process cannot read it; else None."""
        return unread(self.pins)

    @reading
    def observe(self) -> Observed:
        """Read back what is in force. Interfaces whose link still runs an older program count: it judges packets too.

        Of a set with another layout only the control word is read, not the policy, so `digest` is empty.
        """
        active = self._active()
        if active is None:
            return Observed()
        with active as programs:
            control, now = programs.control(), clock.monotonic()
            readable = version_of(programs.folder).startswith(LAYOUT)

            def digest(word: ControlWord) -> str:
                known = readable and word.generation
                return bytes(programs.head(word.policy).digest).hex() if known else ""

            word, previous = control.word, control.previous
            there, back = (word.generation, digest(word)), (previous.generation, digest(previous))
            window = Window(*there, *back, control.deadline, control.is_over(now)) if control.deadline else None
            found = tuple(Interface(link.name, "xdp", link.mode()) for link in links.observe(self.pins))
            return Observed(*(back if control.is_over(now) else there), found, window)

    @contextmanager
    def staged(self, ruleset: Ruleset, generation: int, undo: Undo | None = None) -> Iterator[StagedPrograms]:
        """Prepare a generation beside the one in force and try it; the body of the `with` attaches and switches to it.

        If the body ends after a switch, the previous generation is removed. If the body raises or does not switch, the
        previous state is restored. A generation that is already in force is not filled again; the body then only
        changes where it is attached.

        With `undo`, what it names stays too, or is filled as well, and is in force from the deadline on. Without it, a
        window that is open ends with the switch: if the generation is the one that is not confirmed, the switch fails
        once the program has gone back.
        """
        started = time.perf_counter()
        time_now = present_clock()
        wanted = ([Wanted(undo.generation, undo.ruleset)] if undo and undo.ruleset else []) + [
            Wanted(generation, ruleset)
        ]
        for one in wanted:
            check(one.ruleset, time_now)
        with ExitStack() as stack, ExitStack() as abandoned:
            try:
                if not self.pins.links.exists():
                    self.pins.make()
                programs, places, fresh = self._programs(wanted)
                stack.enter_context(programs)
                if fresh:
                    abandoned.callback(remove_set, programs.folder)
                    exempt.put(programs.fds["exempt"], self.exempt, self.exempt_totals(self.exempt))
                old = programs.control()
                *previous, word = [place.word for place in places]
                new = Control(word, NOT_SET, *previous) if undo else Control(word)
                self._fill(programs, old, new, places, time_now)
                staged = StagedPrograms(self.pins, programs, old, new, self.attach)
            except OSError as error:
                raise ApplyError(f"the kernel refused ({error.strerror}); nothing was changed") from error
            filled = time.perf_counter()
            try:
                yield staged
            except BaseException:
                staged.undo()
                raise
            switched = time.perf_counter()
            if staged.switched:
                abandoned.pop_all()
                staged.finish()
            else:
                staged.undo()
            cleaned = time.perf_counter()
            staged.seconds |= {"fill": filled - started, "switch": switched - filled, "delete": cleaned - switched}

    @reading
    def verify(self, ruleset: Ruleset, *, full: bool = True, undo: Undo | None = None) -> list[Difference]:
        """Compare links and policy with what they should be, and every byte of the tables if `full`.

        `undo` as for engine.api.Enforced.
        """
        active = self._active()
        if active is None:
            return [Difference("xdp", "a program in force", "none")]
        with active as programs:
            if not version_of(programs.folder).startswith(LAYOUT):
                found = version_of(programs.folder)[: len(LAYOUT)]
                return [Difference("xdp program", f"layout {LAYOUT}", f"layout {found}: load again")]
            control = programs.control()
            both = _both(ruleset, undo)
            differences = list(_window(control, len(both), undo))
            pairs = zip(control.words, both, strict=False)
            for word, one in () if differences else pairs:
                differences += programs.tables_differ(word.tables, one) if full else []
                differences += self._policy_differs(programs, word, one)
            number = libbpf.program_info(programs.fds["geodrop"]).id
            differences += self._links_lost()
            differences += [
                Difference(f"interface {link.name}", f"program {number}", f"program {link.program}")
                for link in links.observe(self.pins)
                if link.program != number
            ]
            return differences

    def _policy_differs(self, programs: ProgramSet, word: ControlWord, ruleset: Ruleset) -> list[Difference]:
        """Compare the policy that a control word leads to, and its counters."""
        head = programs.head(word.policy)
        pairs = programs.labels()
        missing = [label for label in encode.labels_of(ruleset) if label not in pairs]
        if missing:
            return [Difference("counters", f"one for {' '.join(missing[0].split())}", "none")]
        tables_digest = encode.tables_digest(ruleset)
        expected = encode.encode_policy(ruleset, word.generation, pairs, present_clock(), tables_digest)
        offset = lay.PolicyLayout.from_buffer_copy(expected.policy).tai_offset
        if head.tai_offset != offset:
            told = f"starts by CLOCK_TAI {offset} s ahead"
            return [Difference("policy map", told, f"{head.tai_offset} s ahead")]
        different = programs.policy_differs(word.policy, expected)
        return [Difference("policy map", "as in the ruleset", "different")] if different else []

    @reading
    def verify_share(self, ruleset: Ruleset, part: int, parts: int, undo: Undo | None = None) -> list[Difference]:
        """Compare part `part` (from 0) of `parts` of each table, byte for byte; all parts together are all bytes.

        The policy is compared each time: no event tells that another program has written into it.
        """
        active = self._active()
        if active is None:
            return []
        with active as programs:
            differences: list[Difference] = []
            for word, one in zip(programs.control().words, _both(ruleset, undo), strict=False):
                differences += programs.tables_differ(word.tables, one, part, parts)
                differences += self._policy_differs(programs, word, one)
            return differences

    @reading
    def fingerprint(self) -> bytes:
        """Describe what is pinned, which program each link runs, and the control word; equal means unchanged."""
        said: list[object] = [sorted(path.name for path in folder.iterdir()) for folder in self.pins.sets()]
        said += [(link.ifindex, link.program) for link in links.observe(self.pins)]
        if active := self._active():
            with active as programs:
                control = programs.control()
                entries = exempt.deadlines(programs.fds["exempt"])
                said.append((active.folder.name, control, control.is_over(clock.monotonic()), entries))
        return repr(said).encode()

    @reading
    def counters(self) -> list[Total]:
        """Return totals since the first load. While links move between two programs both count, so both are added."""
        totals: Totals | None = None
        for folder in reversed(self.pins.sets()):
            with suppress(FileNotFoundError), ProgramSet.open(folder) as programs:
                totals = programs.totals(totals)
        counts = []
        for label, four in (totals or {}).items():
            service, _, counted = label.partition("\t")
            if label == encode.TOO_DEEP:
                counts.append(Total("", "", None, dropped=four[0], would_drop=four[1]))
                continue
            passed = (totals or {}).get(encode.label(service, encode.EXEMPTED), [(0, 0)] * 4)
            exempted = {"ipv4": passed[0], "ipv6": passed[2]}
            for family, (first, second) in (("ipv4", four[:2]), ("ipv6", four[2:])):
                if counted == encode.EXEMPTED:
                    continue
                if counted:
                    counts.append(Total(service, family, counted, dropped=first, would_drop=second))
                else:
                    counts.append(Total(service, family, None, (0, 0), (0, 0), first, second, exempted[family]))
        return counts

    @reading
    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Look up each address's zone by the program, and the zone's meaning in the policy map. Raises
        NotEnforcingError if nothing is in force.
        """
        active = self._active()
        if active is None:
            raise NotEnforcingError("nothing is in force in the kernel", "load a ruleset: geodrop load FILE")
        with active as programs:
            return lookup.judge(programs, ruleset, addresses, time.time())

    @reading
    def trace(self, probes: Sequence[Probe]) -> dict[str, list[str]]:
        """Return each packet's verdict, by the name of the interface it arrives on."""
        return trace(self.pins, probes, LAYOUT)

    def put_exempt(self, sources: Sequence[ExemptSource]) -> None:
        """Let exactly these sources pass from now on. Raises ApplyError."""
        for folder in self.pins.sets():
            with suppress(FileNotFoundError), ProgramSet.open(folder) as programs:
                exempt.put(programs.fds["exempt"], sources)

    @reading
    def verify_exempt(self, sources: Sequence[ExemptSource]) -> list[Difference]:
        """Compare the exempt sources in the kernel with these."""
        active = self._active()
        if active is None or not version_of(active.folder).startswith(LAYOUT):
            return []
        with active as programs:
            return exempt.verify(programs.fds["exempt"], sources)

    @reading
    def exempt_totals(self, sources: Sequence[ExemptSource]) -> dict[Network, tuple[int, int]]:
        """Return packets and bytes that passed because of each of these sources."""
        active = self._active()
        if active is None or not version_of(active.folder).startswith(LAYOUT):
            return {}
        with active as programs:
            return exempt.totals(programs.fds["exempt"], sources)

    @reading
    def attached(self) -> tuple[int, ...]:
        """Return the numbers of the interfaces on which a link holds a program."""
        return tuple(link.ifindex for link in links.observe(self.pins))

    def retire(self) -> bool:
        """Stop judging packets but keep the counters; return False if nothing was in force."""
        pins, found = self.pins, False
        for ifindex in pins.link_indexes():
            links.detach(pins, ifindex)
            found = True
        for folder in pins.sets():
            with suppress(FileNotFoundError), ProgramSet.open(folder) as programs:
                programs.publish(Control())
                for slot in (0, 1):
                    programs.mark_unused(slot)
                    programs.retire_tables(slot)
        return found

    def remove(self) -> bool:
        """Remove everything that is ours and nothing else; return False if there was nothing."""
        pins = self.pins
        there = bool(pins.sets() or pins.link_indexes())
        if pins.folder.exists():
            for ifindex in pins.link_indexes():
                links.detach(pins, ifindex)
            pins.remove()
        return there

    def _links_lost(self) -> list[Difference]:
        """Report existing interfaces whose link another program detached: its pin holds nothing."""
        lost = set(self.pins.link_indexes()) - set(self.attached())
        # Read this last: a link that ended together with its interface is no difference.
        there = dict(socket.if_nameindex())
        return [
            Difference(f"interface {there[number]}", "a link", "detached by another program")
            for number in lost & there.keys()
        ]

    def _version(self) -> str:
        """Return the version of program and layout: a set of another version is replaced, never filled."""
        return LAYOUT + self.loader.version()

    def _active(self) -> ProgramSet | None:
        """Return the newest set with a generation in force, or with a window; None if there is none, or if packets do
        not go by what is pinned. The caller closes it.
        """
        for folder in self.pins.sets():
            with suppress(FileNotFoundError), ExitStack() as stack:  # a killed load leaves an incomplete set
                programs = stack.enter_context(ProgramSet.open(folder))
                readable = version_of(folder).startswith(LAYOUT)
                if programs.control().words and (programs.is_intact() or not readable):
                    stack.pop_all()
                    return programs
        return None

    def _programs(self, wanted: Sequence[Wanted]) -> tuple[ProgramSet, Sequence[Place], bool]:
        """Return the set in force if all of it has room there, and its program is the one we would load; else a new
        set. Also return the places in it, and whether it is new.
        """
        with ExitStack() as stack:
            active = self._active()
            known = stack.enter_context(active).labels() if active else {}
            pairs = len(known.keys() | {label for one in wanted for label in encode.labels_of(one.ruleset)})
            segments = max(encode.segments_needed(one.ruleset) for one in wanted)
            need = Sizes(segments, max(encode.elements_needed(one.ruleset) for one in wanted), pairs)
            fits = active and active.sizes.holds(need) and version_of(active.folder) == self._version()
            if active and fits and (places := room_for(active, active.control(), wanted)) is not None:
                stack.pop_all()
                return active, places, False
        sizes = need.rounded()
        memory.check(sizes)
        programs = ProgramSet.load(self.loader, self.pins.new_set(self._version()), sizes)
        return programs, room_for(programs, Control(), wanted) or (), True

    def _fill(
        self, programs: ProgramSet, old: Control, new: Control, places: Sequence[Place], present: encode.Clock
    ) -> None:
        """Fill the slots that no packet reads yet, and that the new control word switches to."""
        try:
            for place in places:
                word, ruleset = place.word, place.ruleset
                if place.fill_policy:
                    pairs = programs.add_labels(encode.labels_of(ruleset))
                    digest = encode.tables_digest(ruleset)
                    content = encode.encode_policy(ruleset, word.generation, pairs, present, digest)
                    programs.fill_policy(word.policy, content)
                if place.fill_tables:
                    programs.fill_tables(word.tables, ruleset)
                    _try(programs, ruleset, word, TRIALS)
        except BaseException:
            discard(programs, old, new)
            raise


def check(ruleset: Ruleset, clock_now: encode.Clock) -> None:
    """Raise UnavailableError if the program cannot enforce a ruleset on this kernel."""
    requirements.check(ruleset)
    if clock_now.now is not None and encode.future_starts(ruleset, clock_now.now):
        raise UnavailableError(
            "a service `starts` in the future, and this kernel's XDP programs cannot tell the time (Linux 6.1 can)",
            "use --engine nftables",
        )
    encode.check_limits(ruleset)


def present_clock() -> encode.Clock:
    """Return the present clock; with the time only where the program cannot read it."""
    offset = round(time.clock_gettime(time.CLOCK_TAI) - time.clock_gettime(time.CLOCK_REALTIME))
    return encode.Clock(offset, None if libbpf.has_tai_clock() else time.time())


def _both(ruleset: Ruleset, undo: Undo | None) -> list[Ruleset]:
    """Return the rulesets of the control map's words, in their order."""
    return [ruleset, *([undo.ruleset] if undo and undo.ruleset else [])]


def _window(control: Control, generations: int, undo: Undo | None) -> Iterator[Difference]:
    """Compare the window with the one that there should be, and whether there is anything behind it."""
    words = {True: "a window", False: "no window"}
    if bool(control.deadline) != (undo is not None):
        yield Difference("control map", words[undo is not None], words[bool(control.deadline)])
    elif undo and abs(control.deadline - undo.deadline) > TICKS:
        late = (control.deadline - undo.deadline) / 1e9
        yield Difference("control map", "the deadline of the window", f"one {late:+.1f} s from it")
    elif len(control.words) != generations:
        yield Difference("control map", f"generations: {generations}", f"{len(control.words)}")


def _try(programs: ProgramSet, ruleset: Ruleset, word: ControlWord, count: int) -> None:
    """Have the program look up sample addresses before any packet is judged by the tables. Raises ApplyError."""
    chosen = random.Random(ruleset.digest)  # noqa: S311 - any sample will do, the same one each time
    keys, expected = [], []
    for family, width in ((4, 4), (6, 16)):
        starts = ruleset.sections[f"ipv{family}/starts"]
        zones = ruleset.sections[f"ipv{family}/zones"].cast("H")
        for at in chosen.choices(range(len(zones)), k=count // 2):
            order: Literal["little", "big"] = "little" if family == 4 else "big"
            address = int.from_bytes(starts[at * width : (at + 1) * width], order)
            keys.append(lookup.keys(family, address))
            expected.append(zones[at])
            if at:
                keys.append(lookup.keys(family, address - 1))
                expected.append(zones[at - 1])
    found = programs.ask(word.tables, keys)
    if found != expected:
        wrong = sum(one != other for one, other in zip(found, expected, strict=True))
        raise ApplyError(f"the program looked up {wrong} of {len(found)} addresses wrongly; nothing was switched")
