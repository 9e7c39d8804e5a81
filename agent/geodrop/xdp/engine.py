"""The XDP engine: makes the kernel match a ruleset, reads it back, and takes it away again."""

from __future__ import annotations

import os
import random
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from geodrop.engine.api import Difference, Interface, KernelVerdict, Observed, Total
from geodrop.errors import ApplyError, PrivilegeError, UnavailableError
from geodrop.linux import capabilities, libbpf
from geodrop.xdp import encode, links, lookup, memory, requirements
from geodrop.xdp import layout as lay
from geodrop.xdp.libbpf_loader import LibbpfLoader
from geodrop.xdp.loader import Loader, Sizes
from geodrop.xdp.pins import Pins, remove_set, version_of
from geodrop.xdp.program_set import ControlWord, ProgramSet, Totals
from geodrop.xdp.reading import reading
from geodrop.xdp.staged import StagedPrograms, discard
from geodrop.xdp.trace import trace
from geodrop.xdp.unread import Unread, unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.engine.probes import Probe
    from geodrop.ruleset.model import Ruleset

TRIALS = 1_000
"""Lookups by the program itself before tables are published."""


LAYOUT = f"{lay.LAYOUT_VERSION:02x}"
"""How the version of a set begins. Whatever it is, control word, labels and counters are read the same."""


class XdpEngine:
    """Acts on the network namespace of the calling thread."""

    name = "xdp"

    def __init__(
        self,
        loader: Loader | None = None,
        pins: Pins | None = None,
        attach: tuple[str, ...] = ("native", "generic"),
    ) -> None:
        self.loader = loader or LibbpfLoader()
        self._pins = pins
        self.attach = attach

    @property
    def pins(self) -> Pins:
        """Where this namespace's objects are pinned."""
        return self._pins or Pins.default()

    def probe(self) -> None:
        """Raise PrivilegeError or UnavailableError, naming the missing piece, if this engine cannot work here."""
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
        """What is pinned, if this process cannot read it."""
        return unread(self.pins)

    @reading
    def observe(self) -> Observed:
        """Read back what is in force. Interfaces whose link still runs an older program count: it judges as well.

        Of a set with another layout the control word is read and not the policy: `digest` is empty.
        """
        active = self._active()
        if active is None:
            return Observed()
        with active as programs:
            word = programs.word()
            readable = version_of(programs.folder).startswith(LAYOUT)
            digest = bytes(programs.head(word.policy).digest).hex() if readable else ""
            found = tuple(Interface(link.name, "xdp", link.mode()) for link in links.observe(self.pins))
            return Observed(word.generation, digest, found)

    @contextmanager
    def staged(self, ruleset: Ruleset, generation: int) -> Iterator[StagedPrograms]:
        """A generation beside the one in force, tried by the program itself; the body attaches and switches to it.

        Once the body has ended the previous generation is taken away; if it raises, or does not switch, all is as it
        was. A generation that is in force already is not filled again: the body changes where it is attached.
        """
        started = time.perf_counter()
        requirements.check(ruleset)
        clock = present_clock()
        if clock.now is not None and encode.future_starts(ruleset, clock.now):
            raise UnavailableError(
                "a service `starts` in the future, and this kernel's XDP programs cannot tell the time (Linux 6.1 can)",
                "use --engine nftables",
            )
        encode.check_limits(ruleset)
        with ExitStack() as stack, ExitStack() as abandoned:
            try:
                if not self.pins.links.exists():
                    self.pins.make()
                labels = encode.labels_of(ruleset)
                programs, fresh = self._programs(ruleset, labels)
                stack.enter_context(programs)
                if fresh:
                    abandoned.callback(remove_set, programs.folder)
                old = word = programs.word()
                if not _holds(programs, old, ruleset, generation):
                    digest = encode.tables_digest(ruleset)
                    same = bool(old.generation) and programs.tables_digest(old.policy) == digest
                    word = ControlWord(generation, old.tables if same else 1 - old.tables, 1 - old.policy)
                    pairs = programs.add_labels(labels)
                    content = encode.encode_policy(ruleset, generation, pairs, clock, digest)
                    self._fill(programs, ruleset, old, word, content)
                staged = StagedPrograms(self.pins, programs, old, word, self.attach)
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
    def verify(self, ruleset: Ruleset, *, full: bool = True) -> list[Difference]:
        """Compare links and policy with what they should be, and where `full` every byte of the tables."""
        active = self._active()
        if active is None:
            return [Difference("xdp", "a program in force", "none")]
        with active as programs:
            if not version_of(programs.folder).startswith(LAYOUT):
                found = version_of(programs.folder)[: len(LAYOUT)]
                return [Difference("xdp program", f"layout {LAYOUT}", f"layout {found}: load again")]
            word = programs.word()
            head = programs.head(word.policy)
            tables = programs.tables_differ(word.tables, ruleset) if full else []
            differences = [Difference(f"tables map, {name}", "as in the ruleset", "different") for name in tables]
            clock = present_clock()
            pairs = programs.labels()
            missing = [label for label in encode.labels_of(ruleset) if label not in pairs]
            if missing:
                return [*differences, Difference("counters", f"one for {' '.join(missing[0].split())}", "none")]
            expected = encode.encode_policy(ruleset, word.generation, pairs, clock, encode.tables_digest(ruleset))
            offset = lay.PolicyLayout.from_buffer_copy(expected.policy).tai_offset
            if head.tai_offset != offset:
                told = f"starts by CLOCK_TAI {offset} s ahead"
                differences.append(Difference("policy map", told, f"{head.tai_offset} s ahead"))
            elif programs.policy_differs(word.policy, expected):
                differences.append(Difference("policy map", "as in the ruleset", "different"))
            number = libbpf.program_info(programs.fds["geodrop"]).id
            differences += self._links_lost()
            differences += [
                Difference(f"interface {link.name}", f"program {number}", f"program {link.program}")
                for link in links.observe(self.pins)
                if link.program != number
            ]
            return differences

    @reading
    def verify_share(self, ruleset: Ruleset, part: int, parts: int) -> list[Difference]:
        """Compare one of so many parts of each table, byte for byte."""
        active = self._active()
        if active is None:
            return []
        with active as programs:
            different = programs.tables_differ(programs.word().tables, ruleset, part, parts)
            return [Difference(f"tables map, {name}", "as in the ruleset", "different") for name in different]

    @reading
    def fingerprint(self) -> bytes:
        """What is pinned, which program each link runs, and the control word."""
        said: list[object] = [sorted(path.name for path in folder.iterdir()) for folder in self.pins.sets()]
        said += [(link.ifindex, link.program) for link in links.observe(self.pins)]
        if active := self._active():
            with active as programs:
                said.append((active.folder.name, programs.word()))
        return repr(said).encode()

    @reading
    def counters(self) -> list[Total]:
        """Totals since the first load. While links move between two programs both count, and so do both here."""
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
            for family, (first, second) in (("ipv4", four[:2]), ("ipv6", four[2:])):
                if counted:
                    counts.append(Total(service, family, counted, dropped=first, would_drop=second))
                else:
                    counts.append(Total(service, family, None, accepted=first, never_drop=second))
        return counts

    @reading
    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Ask the program for each address's zone, and the policy map for what it means."""
        active = self._active()
        if active is None:
            return [[] for _ in addresses]
        with active as programs:
            return lookup.judge(programs, ruleset, addresses, time.time())

    @reading
    def trace(self, probes: Sequence[Probe]) -> dict[str, list[str]]:
        """What becomes of each packet, by the name of the interface that it arrives on."""
        return trace(self.pins, probes, LAYOUT)

    @reading
    def attached(self) -> tuple[int, ...]:
        """Numbers of the interfaces that a link holds a program on."""
        return tuple(link.ifindex for link in links.observe(self.pins))

    def retire(self) -> bool:
        """Judge nothing any more, but keep what was counted; False if nothing was in force."""
        pins, found = self.pins, False
        for ifindex in pins.link_indexes():
            links.detach(pins, ifindex)
            found = True
        for folder in pins.sets():
            with suppress(FileNotFoundError), ProgramSet.open(folder) as programs:
                programs.publish(ControlWord())
                for slot in (0, 1):
                    programs.mark_unused(slot)
                    programs.retire_tables(slot)
        return found

    def remove(self) -> bool:
        """Remove all that is ours and nothing else; False if there was nothing."""
        pins = self.pins
        there = bool(pins.sets() or pins.link_indexes())
        if pins.folder.exists():
            for ifindex in pins.link_indexes():
                links.detach(pins, ifindex)
            pins.remove()
        return there

    def _links_lost(self) -> list[Difference]:
        """Interfaces that are there and whose link was detached behind our back: a pin that holds nothing."""
        lost = set(self.pins.link_indexes()) - set(self.attached())
        # Read last: a link that went with its interface was detached by nobody.
        there = dict(socket.if_nameindex())
        return [
            Difference(f"interface {there[number]}", "a link", "one that somebody detached")
            for number in lost & there.keys()
        ]

    def _version(self) -> str:
        """Names program and layout: a set of another one is never filled, only replaced."""
        return LAYOUT + self.loader.version()

    def _active(self) -> ProgramSet | None:
        """The newest set that has a generation in force."""
        for folder in self.pins.sets():
            with suppress(FileNotFoundError), ExitStack() as stack:  # one that a killed load left lacks some
                programs = stack.enter_context(ProgramSet.open(folder))
                if programs.word().generation:
                    stack.pop_all()
                    return programs
        return None

    def _programs(self, ruleset: Ruleset, labels: Sequence[str]) -> tuple[ProgramSet, bool]:
        """The set in force if the ruleset fits it and the program is the one we would load; else a new one."""
        with ExitStack() as stack:
            active = self._active()
            known = stack.enter_context(active).labels() if active else {}
            pairs = len(known.keys() | labels)
            need = Sizes(encode.segments_needed(ruleset), encode.elements_needed(ruleset), pairs)
            if active and active.sizes.holds(need) and version_of(active.folder) == self._version():
                stack.pop_all()
                return active, False
        sizes = need.rounded()
        memory.check(sizes)
        return ProgramSet.load(self.loader, self.pins.new_set(self._version()), sizes), True

    def _fill(
        self, programs: ProgramSet, ruleset: Ruleset, old: ControlWord, word: ControlWord, content: encode.Encoded
    ) -> None:
        """Fill the slots that nobody looks at, and that the new control word would switch to."""
        same = bool(old.generation) and word.tables == old.tables
        try:
            programs.fill_policy(word.policy, content)
            if not same:
                programs.fill_tables(word.tables, ruleset)
                _try(programs, ruleset, word, TRIALS)
        except BaseException:
            discard(programs, old, word)
            raise


def present_clock() -> encode.Clock:
    """The clock of now, as a program reads it or as it has to be read for one that cannot."""
    offset = round(time.clock_gettime(time.CLOCK_TAI) - time.clock_gettime(time.CLOCK_REALTIME))
    return encode.Clock(offset, None if libbpf.has_tai_clock() else time.time())


def _holds(programs: ProgramSet, word: ControlWord, ruleset: Ruleset, generation: int) -> bool:
    """Whether this very generation is in force."""
    return word.generation == generation and bytes(programs.head(word.policy).digest).hex() == ruleset.digest


def _try(programs: ProgramSet, ruleset: Ruleset, word: ControlWord, count: int) -> None:
    """Have the program itself look addresses up before any packet is judged by them; raises ApplyError."""
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
        raise ApplyError(f"the program looked {wrong} of {len(found)} addresses up wrongly; nothing was switched")
