# SPDX-License-Identifier: Apache-2.0
"""Warn of parts of a valid policy that are probably not intended, and say what to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from geodrop.document.problems import clean, shown
from geodrop.policy.codes import check_codes
from geodrop.policy.groups import open_groups
from geodrop.policy.model import Established, LineKind, Verdict
from geodrop.policy.spans import meets, size, span, spans, without
from geodrop.policy.special import public_spans, special_spans
from geodrop.policy.values import merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geodrop.document.problems import ProblemReport
    from geodrop.policy.model import Line, Network, Policy, Service
    from geodrop.policy.origins import Origins
    from geodrop.policy.spans import Spans

FAMILIES = (4, 6)
TCP, UDP = 6, 17
MAX_NAMED = 5

EPHEMERAL = (32_768, 60_999)
"""The local ports of outgoing connections on Linux by default (ip_local_port_range), where answers arrive."""


def check_intent(policy: Policy, origins: Origins, report: ProblemReport) -> None:
    """Warn of what is probably not intended, in a policy without errors."""
    prefixes = _Prefixes(policy)
    _check_never_drop(policy, origins, report)
    for service in policy.services:
        _check_special(prefixes, service.deny, report)
        _check_never_judged(policy, service, origins, report)
        for verdict in Verdict:
            _check_everything(prefixes, service, verdict, origins, report)
        if service.default is Verdict.DROP:
            _check_nobody(policy, service, origins, report)
            _check_replies(policy, service, origins, report)
    check_codes(policy, origins, report)
    _check_unused_groups(policy, origins, report)
    _check_unused_lists(policy, report)


class _Held(NamedTuple):
    """The addresses of a line by family, and its prefixes with special addresses that never_drop does not hold."""

    spans: dict[int, Spans]
    special: list[Network]

    def everything(self, family: int) -> bool:
        return _is_everything(family, [self.spans[family]])


class _Prefixes:
    """The addresses of lines, computed once for each: a list may have millions of prefixes, and be in every service."""

    def __init__(self, policy: Policy) -> None:
        never = policy.never_drop.prefixes
        self._policy = policy
        self._special = {family: without(special_spans(family), spans(never, family)) for family in FAMILIES}
        self._known: dict[tuple[LineKind, str], _Held] = {}

    def of(self, lines: Iterable[Line]) -> Iterator[tuple[Line, _Held]]:
        """Yield the lines that are prefixes and lists, also those in groups, with their addresses."""
        for _, member in open_groups(self._policy.groups, lines):
            if member.kind in (LineKind.PREFIX, LineKind.LIST):
                key = member.kind, member.name
                if key not in self._known:
                    self._known[key] = self._held(member)
                yield member, self._known[key]

    def _held(self, member: Line) -> _Held:
        networks = (member.network,) if member.network is not None else self._policy.lists[member.name].prefixes
        special = [network for network in networks if meets(self._special[network.version], *span(network))]
        return _Held({family: spans(networks, family) for family in FAMILIES}, special)


def _check_special(prefixes: _Prefixes, lines: Iterable[Line], report: ProblemReport) -> None:
    """Warn of denied special addresses: neighbours, load balancers and monitoring use them; by default they pass."""
    members = list(prefixes.of(lines))
    if any(_is_everything(family, [held.spans[family] for _, held in members]) for family in FAMILIES):
        return  # _check_everything warns of these lines, and says more
    for member, held in members:
        if not held.special:
            continue
        more = f" and {len(held.special) - 1:,} more" if len(held.special) > 1 else ""
        which = f" ({held.special[0]}{more})" if member.kind is LineKind.LIST else ""
        report.warning(
            member.place,
            f"{member.text} holds special addresses{which}, where health checks and neighbours are, and which pass "
            "if no line names them; take them out, or put what must pass into prefixes of never_drop",
        )


def _check_everything(
    prefixes: _Prefixes, service: Service, verdict: Verdict, origins: Origins, report: ProblemReport
) -> None:
    """Warn of prefixes that hold every address: they decide before regions, so no other line has an effect."""
    key, lines = ("deny", service.deny) if verdict is Verdict.DROP else ("allow", service.allow)
    members = list(prefixes.of(lines))
    effect = f"service {shown(service.name)} {verdict}s all of it, whatever the region"
    instead = f"take it out, or write  default: {key}"
    for family in FAMILIES:
        whole = [member for member, held in members if held.everything(family)]
        for member in whole:
            report.warning(member.place, f"{member.text} holds every IPv{family} address: {effect}; {instead}")
        if not whole and _is_everything(family, [held.spans[family] for _, held in members]):
            message = f"the prefixes of {key} hold every IPv{family} address together: {effect}; {instead}"
            report.warning(origins.of(service, key), message)


def _check_never_drop(policy: Policy, origins: Origins, report: ProblemReport) -> None:
    """Warn of a never_drop that holds every address: then no service drops anything."""
    for family in FAMILIES:
        if origins.never_drop and _is_everything(family, [spans(policy.never_drop.prefixes, family)]):
            message = (
                f"never_drop holds every IPv{family} address, so no service drops any of it; write only those that "
            )
            report.warning(origins.never_drop, message + "must always pass")


def _check_never_judged(policy: Policy, service: Service, origins: Origins, report: ProblemReport) -> None:
    """Warn of a service's ports that never_drop accepts first; without a never_drop key that is tcp/22."""
    passed = [
        f"{word}/{low}" + (f"-{high}" if high > low else "")
        for word, ports, never in (
            ("tcp", service.match.ports.tcp, policy.never_drop.ports.tcp),
            ("udp", service.match.ports.udp, policy.never_drop.ports.udp),
        )
        for low, high in ports
        if not without(((low, high),), never)
    ]
    if passed:
        by = "never_drop" if origins.never_drop else "never_drop, which is  ports: {tcp: [22]}  if it is not written,"
        report.warning(
            origins.of(service, "match"),
            f"{by} accepts {', '.join(passed)} before service {shown(service.name)} is asked, so it drops nothing "
            "there; take it out of one of the two",
        )


def _check_nobody(policy: Policy, service: Service, origins: Origins, report: ProblemReport) -> None:
    """Warn of a service that allows nothing, unless both verdicts deny and there are no allow and deny lines."""
    if service.unknown is Verdict.DROP and not origins.services[service.name].values.keys() & {"allow", "deny"}:
        return
    for _, member in open_groups(policy.groups, service.allow):
        if member.kind is not LineKind.LIST or policy.lists[member.name].prefixes or policy.lists[member.name].drawn:
            return
    but = ", but for sources that no database knows" if service.unknown is Verdict.ACCEPT else ""
    report.warning(
        origins.of(service, "allow"),
        f"service {shown(service.name)} allows nothing under  default: deny, so it drops everybody{but}; write who may "
        "connect, such as  allow: [US]",
    )


@dataclass(frozen=True, slots=True)
class _Answers:
    """Answers to the host's own requests: what they answer, and what to write to let them in."""

    what: str
    keep: str


def _check_replies(policy: Policy, service: Service, origins: Origins, report: ProblemReport) -> None:
    """Warn of a service that is not limited to ports and so drops answers to this host's own requests."""
    lost = []
    if _takes_answers(service, TCP, service.match.ports.tcp) and service.established is Established.CUT:
        lost.append(_Answers("its own TCP connections", "established: keep"))
    if _takes_answers(service, UDP, service.match.ports.udp) and not policy.never_drop.prefixes:
        lost.append(_Answers("its DNS queries", "its resolvers under prefixes of never_drop"))
    if lost:
        report.warning(
            origins.of(service, "match"),
            f"service {shown(service.name)} is not limited to ports, so under  default: deny  this host loses answers "
            f"to {' and '.join(one.what for one in lost)}; write a match with the ports that it serves, or let them "
            f"in: {', '.join(one.keep for one in lost)}",
        )


def _takes_answers(service: Service, protocol: int, ports: Spans) -> bool:
    match = service.match
    if protocol in match.protocols or not (match.ports or match.protocols):
        return True
    return any(low <= EPHEMERAL[0] and EPHEMERAL[1] <= high for low, high in ports)


def _check_unused_groups(policy: Policy, origins: Origins, report: ProblemReport) -> None:
    """Warn once of all unused groups: name those that no line names, and count the groups inside them."""
    used = {line.name for line in _reached(policy) if line.kind is LineKind.GROUP}
    unused = [name for name in policy.groups if name not in used]
    inner = {line.name for name in unused for line in policy.groups[name] if line.kind is LineKind.GROUP}
    outer = [name for name in unused if name not in inner]
    if outer:
        rest = len(unused) - len(outer)
        them = "them" if len(outer) > 1 else "it"
        also = f" (with {rest} more in {them})" if rest else ""
        message = f"no service uses {_named('group', outer)}{also}; remove {them}, or name {them} in a line"
        report.warning(origins.groups[outer[0]], message)


def _check_unused_lists(policy: Policy, report: ProblemReport) -> None:
    used = {line.name for line in _reached(policy) if line.kind is LineKind.LIST}
    unused = [name for name in policy.lists if name not in used]
    if unused:
        them = "them" if len(unused) > 1 else "it"
        message = f"no service uses {_named('list', unused)}; remove {them}, or name {them} in a line"
        report.warning(policy.lists[unused[0]].place, message)


def _reached(policy: Policy) -> Iterator[Line]:
    """Yield every line that a service leads to, including the lines that name groups."""
    pending = [line for service in policy.services for line in (*service.allow, *service.deny)]
    opened: set[str] = set()
    while pending:
        line = pending.pop()
        yield line
        if line.kind is LineKind.GROUP and line.name not in opened:
            opened.add(line.name)
            pending += policy.groups[line.name]


def _named(word: str, names: list[str]) -> str:
    some = ", ".join(f'"{clean(name)}"' for name in names[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{word}{'s' if len(names) > 1 else ''} {some}{more}"


def _is_everything(family: int, parts: Iterable[Spans]) -> bool:
    """Return whether parts hold every address of a family that a host on the internet can have."""
    public, parts = public_spans(family), list(parts)
    if sum(map(size, parts)) < size(public):  # a quick answer for nearly every policy
        return False
    return not without(public, merged(span for part in parts for span in part))
