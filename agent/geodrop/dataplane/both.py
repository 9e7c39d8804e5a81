# SPDX-License-Identifier: Apache-2.0
"""Both engines as one, for callers that read the kernel: what is in force, whether it is right, what was counted."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.engine.api import Difference, Observed, Total
from geodrop.engine.interfaces import with_carried
from geodrop.errors import GeodropError, NotEnforcingError, PrivilegeError, UnavailableError
from geodrop.linux import ipsec
from geodrop.linux.network import read_network
from geodrop.nftables import flowtables
from geodrop.nftables.engine import NftablesEngine
from geodrop.state.places import default_pins

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.engine.api import KernelVerdict, Undo, Watched
    from geodrop.engine.exempt import ExemptSource, Network
    from geodrop.engine.probes import Probe
    from geodrop.nftables.flowtables import Bypass
    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.engine import XdpEngine
    from geodrop.xdp.unread import Unread


class BothEngines:
    """Implements the Engine protocol except `apply`: `transaction.apply` changes both engines.

    `xdp` is None if nothing of xdp is pinned, or if it is `unread`. Then only nftables is read and changed.
    """

    name = "auto"

    def __init__(
        self, nftables: NftablesEngine, xdp: XdpEngine | None, loader: str = "libbpf", unread: Unread | None = None
    ) -> None:
        self.nftables = nftables
        self.xdp = xdp
        self.unread = unread
        self._loader = loader
        self._exempt: Sequence[ExemptSource] = ()

    @classmethod
    def here(cls, loader: str = "libbpf") -> BothEngines:
        """Return the engines of the calling thread's network namespace; xdp only if something of it is pinned.

        The loader matters only for changes; pinned objects read alike.
        """
        xdp = make_xdp(loader) if _is_pinned() else None
        unread = xdp.unread() if xdp else None
        return cls(NftablesEngine(), None if unread else xdp, loader, unread)

    @property
    def may_judge_unseen(self) -> bool:
        """Whether something is pinned that may judge packets, although this process cannot read what it does."""
        return self.unread is not None and self.unread.links != ()

    def with_xdp(self) -> XdpEngine:
        """Return the xdp engine, after making it if needed. If pins cannot be read, the engine's probe will refuse."""
        xdp = self.xdp or make_xdp(self._loader)
        xdp.exempt = self._exempt
        if not self.unread:
            self.xdp = xdp
        return xdp

    def exempt_from_now(self, sources: Sequence[ExemptSource]) -> None:
        """Have whatever is made from now on let these sources pass from its first packet on."""
        self._exempt = self.nftables.exempt = sources
        if self.xdp:
            self.xdp.exempt = sources

    def put_exempt(self, sources: Sequence[ExemptSource]) -> None:
        """Let exactly these sources pass, on both engines. Raises ApplyError, and PrivilegeError if xdp is `unread`."""
        if self.unread:
            raise PrivilegeError(self.unread.problem)
        for engine in self._usable():
            engine.put_exempt(sources)

    def verify_exempt(self, sources: Sequence[ExemptSource]) -> list[Difference]:
        """Compare the exempt sources of the engines in force with these."""
        return [one for engine in self._usable() for one in engine.verify_exempt(sources)]

    def exempt_totals(self, sources: Sequence[ExemptSource]) -> dict[Network, tuple[int, int]]:
        """Return packets and bytes that passed because of each of these sources."""
        sums: dict[Network, tuple[int, int]] = {}
        for engine in self._usable():
            for network, (packets, octets) in engine.exempt_totals(sources).items():
                before = sums.get(network, (0, 0))
                sums[network] = before[0] + packets, before[1] + octets
        return sums

    def retire_xdp(self) -> str:
        """Leave nothing to xdp, once nftables judges; return what could not be done."""
        if self.unread:
            return self.unread.release()
        if self.xdp:
            self.xdp.retire()
        return ""

    @property
    def _all(self) -> list[Watched]:
        return [self.xdp, self.nftables] if self.xdp else [self.nftables]

    def _usable(self) -> Iterator[Watched]:
        """Yield the engines that this kernel has; xdp may judge without nf_tables."""
        for engine in self._all:
            try:
                engine.observe()
            except UnavailableError:
                if not self.xdp:
                    raise
                continue
            yield engine

    def _in_force(self) -> list[tuple[Watched, Observed]]:
        """Return the engines that judge packets now, as `_there`."""
        return [(engine, observed) for engine, observed in self._there() if observed.generation]

    def _there(self) -> list[tuple[Watched, Observed]]:
        """Return the engines with a generation in force, or with a window that is over and goes back to nothing.

        xdp comes first, since it sees packets first. If the kernel has no nf_tables, nftables is not in force.
        """
        found: list[tuple[Watched, Observed]] = []
        for engine in self._all:
            try:
                observed = engine.observe()
            except UnavailableError:
                if engine is not self.nftables or not found:
                    raise
                continue
            if observed.generation or observed.window:
                found.append((engine, observed))
        return found

    def probe(self) -> None:
        """Raise PrivilegeError or UnavailableError if neither engine can work here."""
        for engine in self._all[:-1]:
            with suppress(UnavailableError, PrivilegeError):
                return engine.probe()
        return self.nftables.probe()

    def observe(self) -> Observed:
        """Return the newest generation, and the interfaces of both engines.

        The engines go back to a generation at most a tick of the kernel apart; until the last has, the newer counts.
        """
        found = [observed for _, observed in self._there()]
        if not found:
            return Observed()
        newest = max(found, key=lambda one: one.generation)
        interfaces = tuple(interface for one in found if one.generation for interface in one.interfaces)
        return replace(newest, interfaces=interfaces)

    def verify(self, ruleset: Ruleset, *, full: bool = True, undo: Undo | None = None) -> list[Difference]:
        """Return the differences of all engines in force, between both engines, and packets that neither judges.

        `undo` as for engine.api.Enforced.
        """
        found = self._there()
        if not found:
            return self.nftables.verify(ruleset, full=full, undo=undo)
        generations = [_newest(observed) for _, observed in found]
        differences = [
            Difference(engine.name, f"generation {max(generations)}", f"generation {generation}")
            for (engine, _), generation in zip(found, generations, strict=True)
            if generation != max(generations)
        ]
        for engine, _ in found:
            differences += engine.verify(ruleset, full=full, undo=undo)
        return [*differences, *self._judged_by_neither()]

    def verify_share(self, ruleset: Ruleset, part: int, parts: int, undo: Undo | None = None) -> list[Difference]:
        """Compare part `part` (from 0) of `parts` of the data with the ruleset: map elements, and bytes of tables."""
        return [one for engine, _ in self._there() for one in engine.verify_share(ruleset, part, parts, undo)]

    def left_to_xdp(self) -> tuple[int, ...]:
        """Return the numbers of the interfaces whose packets nftables accepts because xdp judges them."""
        try:
            return self.nftables.left_to_xdp()
        except UnavailableError:
            return ()

    def bypasses(self) -> list[Bypass]:
        """Return the flowtables of other programs, whose packets skip nftables."""
        try:
            return flowtables.read()
        except UnavailableError:
            return []

    def fingerprint(self) -> tuple[bytes, ...]:
        """Describe what both engines have in the kernel, without data and counts; equal means that nothing was changed.

        If xdp is in use, this includes whether IPsec is used, since that decides which engine judges.
        """
        found = [repr(ipsec.in_use()).encode()] if self.xdp else []
        for engine in self._all:
            with suppress(UnavailableError):
                found.append(engine.fingerprint())
        return tuple(found)

    def foreign_commits(self) -> int:
        """Return a number that changes when another process commits to nf_tables; 0 without nf_tables."""
        with suppress(UnavailableError):
            return self.nftables.foreign_commits()
        return 0

    def counters(self) -> list[Total]:
        """Return the sum of both engines' totals. One engine judges a packet, so it is counted once.

        Raises UnavailableError if neither can be read.
        """
        sums: dict[tuple[str, str, str | None], Total] = {}
        refused: list[UnavailableError] = []
        for engine in self._all:
            try:
                counts = engine.counters()
            except UnavailableError as error:
                refused.append(error)
                continue
            for count in counts:
                key = (count.service, count.family, count.label)
                sums[key] = _add(sums[key], count) if key in sums else count
        if len(refused) == len(self._all):
            raise refused[-1]
        return [sums[key] for key in sorted(sums, key=lambda key: (key[0], key[2] or "", key[1]))]

    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Return the verdicts of the engines in force; where they disagree, the verdict is `differs`, which no ruleset
        gives. Raises NotEnforcingError if nothing is in force.
        """
        found = [engine for engine, _ in self._in_force()]
        if not found:
            raise NotEnforcingError("nothing is in force in the kernel", "load a ruleset: geodrop load FILE")
        answers = [engine.judge(ruleset, addresses) for engine in found]
        if len(answers) == 1:
            return answers[0]
        return [
            [_agreed(one, other) for one, other in zip(of_xdp, of_nftables, strict=True)]
            for of_xdp, of_nftables in zip(*answers, strict=True)
        ]

    def trace(self, probes: Sequence[Probe], on_nftables: Iterable[str]) -> dict[str, list[str]]:
        """Return each packet's verdict, by the name of the link it arrives on. Links in `on_nftables` are judged by
        nftables unless xdp judges them.
        """
        found = self.xdp.trace(probes) if self.xdp else {}
        links = {number: name for number, name in socket.if_nameindex() if name in set(on_nftables) - found.keys()}
        return found | (self.nftables.trace(probes, links) if links else {})

    def remove(self) -> bool:
        """Remove everything that is ours, from both engines; return False if there was nothing.

        Where one engine fails, the other's is removed all the same, and then the first failure is raised.
        """
        removed: list[bool] = []
        failures: list[GeodropError | OSError] = []
        for one in (*self._all, *([self.unread] if self.unread else ())):
            try:
                removed.append(one.remove())
            except (GeodropError, OSError) as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return any(removed)

    def _judged_by_neither(self) -> list[Difference]:
        """Report interfaces that nftables leaves to xdp although xdp does not judge them."""
        exempt = set(self.left_to_xdp())
        if not exempt:
            return []
        judged = set(self.xdp.attached()) if self.xdp else set()
        there = dict(socket.if_nameindex())
        missing = (exempt & there.keys()) - judged
        if missing:
            missing -= with_carried(judged, read_network().links)
        return [Difference(f"interface {there[number]}", "judged by xdp", "judged by neither") for number in missing]


def _is_pinned() -> bool:
    """Tell whether anything of xdp may be pinned. In a bpffs that this process may not enter, nothing is its own."""
    try:
        os.stat(default_pins())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    except OSError as error:
        raise UnavailableError(f"{error.filename}: {error.strerror}", "check that /sys is mounted") from error
    return True


def make_xdp(loader: str = "libbpf") -> XdpEngine:
    """Return the xdp engine of this network namespace, not probed; `loader` is one of config.LOADERS."""
    # Not imported at the top: no verb should wait for importing an engine that this host does not use.
    from geodrop.xdp.engine import XdpEngine  # noqa: PLC0415

    if loader == "bcc":
        from geodrop.xdp.bcc_loader import BccLoader  # noqa: PLC0415

        return XdpEngine(BccLoader())
    return XdpEngine()


def _newest(observed: Observed) -> int:
    """Return the newest generation that the engine holds, whether it still judges or not."""
    return observed.window.generation if observed.window else observed.generation


def _add(one: Total, other: Total) -> Total:
    def total(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
        return left[0] + right[0], left[1] + right[1]

    return replace(
        one,
        dropped=total(one.dropped, other.dropped),
        would_drop=total(one.would_drop, other.would_drop),
        accepted=total(one.accepted, other.accepted),
        never_drop=total(one.never_drop, other.never_drop),
        exempted=total(one.exempted, other.exempted),
    )


def _agreed(of_xdp: KernelVerdict, of_nftables: KernelVerdict) -> KernelVerdict:
    if (of_xdp.verdict, of_xdp.would_drop, of_xdp.exempted) == (
        of_nftables.verdict,
        of_nftables.would_drop,
        of_nftables.exempted,
    ):
        return of_xdp
    where = f"xdp: {of_xdp.verdict}, {of_xdp.where}; nftables: {of_nftables.verdict}, {of_nftables.where}"
    return replace(of_xdp, verdict="differs", where=where, would_drop=None)
