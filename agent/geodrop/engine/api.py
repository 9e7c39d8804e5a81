# SPDX-License-Identifier: Apache-2.0
"""The protocol that every engine implements. Verbs and the conformance suite use it and know no engine by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.engine.exempt import ExemptSource, Network
    from geodrop.ruleset.model import Ruleset


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface on which packets are judged. `attach` is native or generic for xdp, None for nftables.

    `why` says why xdp does not judge there, if xdp was tried.
    """

    name: str
    engine: str
    attach: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What nftables should judge: packets that arrive on interfaces of these names, which may end in `*`.

    `elsewhere` holds the numbers of interfaces whose packets xdp has judged already. They are numbers because a link
    stays with its interface through a renaming. An interface that replaces another gets another number: it is then no
    longer exempt, and nftables judges it from its first packet on. `why` says, by name, why xdp does not judge there.
    """

    names: tuple[str, ...]
    elsewhere: tuple[int, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)


TICKS = 40_000_000
"""Nanoseconds by which a deadline that is read back may differ from the one that was set: the kernel counts timeouts of
nftables in ticks of at most 10 ms each, both when they are set and when they are read.
"""


@dataclass(frozen=True, slots=True)
class Undo:
    """What the kernel goes back to by itself without a confirmation: a generation, or nothing (0 and None).

    `deadline` is in nanoseconds of the kernel's CLOCK_MONOTONIC (linux.clock.monotonic).
    """

    generation: int
    ruleset: Ruleset | None
    deadline: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """A generation that is not confirmed, and the one before it (0: none), as read back from the kernel.

    `deadline` as for Undo; `over` tells whether the kernel has gone back to `previous` already.
    """

    generation: int
    digest: str
    previous: int
    previous_digest: str
    deadline: int
    over: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """What is in force, read back from the kernel; `generation` 0 means that no packet is judged.

    `window` is the window that is open, or is over and not tidied up yet.
    """

    generation: int = 0
    digest: str = ""
    interfaces: tuple[Interface, ...] = ()
    window: Window | None = field(default=None, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names and patterns on which packets are judged, each once."""
        return tuple(dict.fromkeys(interface.name for interface in self.interfaces))


@dataclass(frozen=True, slots=True)
class Total:
    """One line of `counters`: packets and bytes (IP length) of one service and family.

    `label` is the region, list or prefix of a counter class. It is None in the one line of a service and family with
    `accepted`, `never_drop` and `exempted`. `service` and `family` are empty in the line of frames in which neither
    can be read.
    """

    service: str
    family: str
    label: str | None
    dropped: tuple[int, int] = (0, 0)
    would_drop: tuple[int, int] = (0, 0)
    accepted: tuple[int, int] = (0, 0)
    never_drop: tuple[int, int] = (0, 0)
    exempted: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the kernel differs from a ruleset: where, what should be there, what is.

    `surplus` marks something additional that nothing of ours leads to. It can be deleted without loading anything.
    """

    where: str
    expected: str
    found: str
    surplus: bool = False


@dataclass(frozen=True, slots=True)
class KernelVerdict:
    """What the loaded tables say now about one address and service.

    `where` is what was looked up and found, `target` the chain or row it leads to, as text. `would_drop` is true if the
    packet counts as dropped, as one that would be dropped, or as exempt; it is None if two engines disagree. `exempted`
    is true if the packet passes only because its source is exempt.
    """

    service: str
    verdict: str
    where: str
    target: str = ""
    would_drop: bool | None = False
    exempted: bool = False


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """The result of an apply. `seconds` is the duration of each phase (fill, switch, verify, delete); `note` says what
    failed after the switch. `deadline` is that of a generation that is not confirmed (see Undo); else 0.
    """

    generation: int
    seconds: dict[str, float] = field(default_factory=dict)
    note: str = ""
    deadline: int = 0


class Enforced(Protocol):
    """What is in force, read from the kernel: by one engine, or by both together.

    It uses the network namespace of the calling thread, and affects only what is geodrop's.
    """

    name: str

    def observe(self) -> Observed:
        """Read back what is in force. Raises UnavailableError if something foreign has our names."""

    def verify(self, ruleset: Ruleset, *, full: bool = True, undo: Undo | None = None) -> list[Difference]:
        """Compare the kernel with the ruleset it should hold; an empty list means they agree. Data only if `full`.

        With `undo` the ruleset is not confirmed: the kernel should hold both, and go back at the deadline.
        """

    def counters(self) -> list[Total]:
        """Return totals since the first load."""

    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Look up addresses in the kernel's tables; return for each address one verdict for each service. Raises
        NotEnforcingError if nothing is in force.
        """

    def remove(self) -> bool:
        """Remove everything that is ours and nothing else; return False if there was nothing."""


class Engine(Enforced, Protocol):
    """One engine, which can also tell whether it can work here."""

    def probe(self) -> None:
        """Check that this engine can work here. Raises PrivilegeError or UnavailableError, naming the missing piece."""


class Watched(Engine, Protocol):
    """What an engine offers to a caller that watches it all the time, and lets sources pass for a limited time."""

    def put_exempt(self, sources: Sequence[ExemptSource]) -> None:
        """Let exactly these sources pass from now on, without touching what decides. Raises ApplyError."""

    def verify_exempt(self, sources: Sequence[ExemptSource]) -> list[Difference]:
        """Compare the exempt sources in the kernel with these; expiry is no difference."""

    def exempt_totals(self, sources: Sequence[ExemptSource]) -> dict[Network, tuple[int, int]]:
        """Return packets and bytes that passed because of each source, counted for each service that denies it."""

    def verify_share(self, ruleset: Ruleset, part: int, parts: int, undo: Undo | None = None) -> list[Difference]:
        """Compare part `part` (from 0) of `parts` of the data with the ruleset; all parts together cover the data.

        `undo` as for `verify`.
        """

    def fingerprint(self) -> bytes:
        """Describe what the kernel holds of ours, without data and counts; equal means that nothing was changed."""
