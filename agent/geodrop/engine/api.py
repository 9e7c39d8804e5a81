"""What every engine offers. One small protocol, so that the verbs and the conformance suite know no engine by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geodrop.ruleset.model import Ruleset


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface packets are judged on. `attach` is native or generic for xdp, None for nftables.

    `why` says why it is not xdp that judges them, where xdp was tried.
    """

    name: str
    engine: str
    attach: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What nftables is to judge: packets that arrive on interfaces of these names, which may end in `*`.

    `elsewhere` are numbers of interfaces whose packets xdp has judged already. Numbers, since a link stays with its
    interface through a renaming, and an interface that comes in the place of one that went gets another number: it is
    no longer exempt, and judged from its first packet on. `why` says of a name why it is not xdp that judges there.
    """

    names: tuple[str, ...]
    elsewhere: tuple[int, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the kernel says is in force, read back; `generation` 0 means nothing of ours is there."""

    generation: int = 0
    digest: str = ""
    interfaces: tuple[Interface, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names and patterns that packets are judged on, each once."""
        return tuple(dict.fromkeys(interface.name for interface in self.interfaces))


@dataclass(frozen=True, slots=True)
class Total:
    """One line of `counters`: packets and bytes (IP length) of one service and family.

    `label` is the region, list or prefix of a counter class; None in the one line a service and family has for
    `accepted` and `never_drop`. `service` and `family` are empty in the line of frames of which neither can be read.
    """

    service: str
    family: str
    label: str | None
    dropped: tuple[int, int] = (0, 0)
    would_drop: tuple[int, int] = (0, 0)
    accepted: tuple[int, int] = (0, 0)
    never_drop: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the kernel differs from a ruleset: where, what should be there, what is.

    `surplus`: it is something more that nothing of ours leads to, and can be taken away without loading anything.
    """

    where: str
    expected: str
    found: str
    surplus: bool = False


@dataclass(frozen=True, slots=True)
class KernelVerdict:
    """What the loaded tables say of one address and service, now.

    `where` is what was looked up and found, `target` the chain or row it leads to, as text. `would_drop` is true where
    the packet is counted as dropped, or as one that would be; None where two engines disagree.
    """

    service: str
    verdict: str
    where: str
    target: str = ""
    would_drop: bool | None = False


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What an apply did: `seconds` a phase (fill, switch, verify, delete); `note` what went less than well after it."""

    generation: int
    seconds: dict[str, float] = field(default_factory=dict)
    note: str = ""


class Enforced(Protocol):
    """What is in force, read from the kernel: by one engine, or by both as one.

    It acts on the network namespace of the calling thread, and on nothing that is not geodrop's.
    """

    name: str

    def observe(self) -> Observed:
        """Read back what is in force; raises UnavailableError when something foreign has our names."""

    def verify(self, ruleset: Ruleset, *, full: bool = True) -> list[Difference]:
        """Compare the kernel with the ruleset it should hold; empty: they agree. Not full: structure, no data."""

    def counters(self) -> list[Total]:
        """Totals since the first load."""

    def judge(self, ruleset: Ruleset, addresses: Sequence[str]) -> list[list[KernelVerdict]]:
        """Ask the kernel's tables, for each address a verdict for each service."""

    def remove(self) -> bool:
        """Remove all that is ours and nothing else; False if there was nothing."""


class Engine(Enforced, Protocol):
    """One engine, which may be asked whether it can work here."""

    def probe(self) -> None:
        """Raise PrivilegeError or UnavailableError, naming the missing piece, if this engine cannot work here."""


class Watched(Engine, Protocol):
    """What an engine offers to who watches it all the time."""

    def verify_share(self, ruleset: Ruleset, part: int, parts: int) -> list[Difference]:
        """Compare one of so many parts of the data with the ruleset; every part is read if each is asked for."""

    def fingerprint(self) -> bytes:
        """What the kernel holds of ours but for data and counts: while it is equal nobody touched it."""
