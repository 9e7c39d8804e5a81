# SPDX-License-Identifier: Apache-2.0
"""Decide which service judges a packet: the chains of a generation that lead to those of its services. Pure.

    g42             later fragments aside; ports, protocols, addresses -> the map of a service that is looked up here;
                    else -> g42-api; services in monitor are jumped to and return
    g42.readable    the rest of g42, if packets that cannot be read, or hold an authentication header, are led aside
                    in the middle of it
    g42.fragmented  a fragment header of IPv6: of a later fragment, or at an expected place; else unreadable
    g42.fragments   later fragments, which have no ports, though the kernel reads their data as ports
    g42.unreadable  no protocol can be read: judged by source for every service at this local address
    g42.portless    TCP or UDP without ports: judged by source for each service that takes packets of the protocol
    g42.ah          an authentication header: check that the packet holds it and ports behind it; then judge by what it
                    protects

A rule ends if it cannot read its key, and no expression tests for "cannot be read". So rules that read come first and
lead packets on; the packets that are left could not be read.

If several services judge a packet, those in monitor come first. After them, the first service that drops the packet
ends its way: a further service would drop it too, or count a packet that is already dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.nftables import matches, names, taken, transport
from geodrop.nftables.model import Chain, Rule
from geodrop.nftables.netlink.expressions import ACCEPT, RETURN, RuleVerdict, goto, jump
from geodrop.nftables.transport import AUTHENTICATION, PROTECTED, VISIBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from geodrop.nftables.matches import Selector
    from geodrop.nftables.service_chains import ServiceChains
    from geodrop.ruleset.model import ServiceSpec


_AUTHENTICATED = VISIBLE.protocols([AUTHENTICATION])
_HEADER = "an authentication header"
_ALL_HAVE_JUDGED = Rule((ACCEPT,), "every service has judged it")
"""Used instead of the end of the chain, which might return the packet to a chain that judges it again."""


def ordered(services: Iterable[ServiceSpec]) -> list[ServiceSpec]:
    """Sort services: those with a match before those without; among each, those in monitor first."""
    return sorted(services, key=lambda one: (one.catch_all, one.mode != "monitor"))


def chains(generation: int, comment: str, services: Sequence[ServiceChains]) -> list[Chain]:
    """Return all chains that lead to the services, which are in order; the generation chain comes first."""
    ways = _Ways(generation, services)
    entry = ways.entry()
    return [Chain(names.generation_chain(generation), comment, entry), *ways.chains]


class _Ways:
    """Builds the chains of a generation beside its own, each when a rule first leads to it."""

    def __init__(self, generation: int, services: Sequence[ServiceChains]) -> None:
        self._generation = generation
        self._services = services
        self._ported = [number for number in taken.PORTED if any(taken.takes_any(one.spec, number) for one in services)]
        self._chains: dict[str, Chain] = {}

    @property
    def chains(self) -> list[Chain]:
        """Return all chains made so far."""
        return list(self._chains.values())

    def entry(self) -> tuple[Rule, ...]:
        """Return the rules of the generation chain."""
        # Rules that read ports, or a protocol without ports, do not apply to unreadable packets, so they may come
        # first. No packet belongs to two enforcing services, so their order is free.
        order = sorted(
            self._services, key=lambda one: (one.spec.catch_all, not one.monitor, _takes_unreadable(one.spec))
        )
        count = next((n for n, one in enumerate(order) if _takes_unreadable(one.spec)), len(order))
        before, behind = (
            [rule for service in some for rule in service.entry_rules()] for some in (order[:count], order[count:])
        )
        # A service that takes everything sent to its addresses takes unreadable packets too, if no service before it
        # ends their way.
        leads_aside = any(_is_selective(service.spec) for service in self._services) or not all(
            service.monitor for service in self._services[:-1]
        )
        if leads_aside:
            behind = self._led_aside(behind)
        elif any(service.reads_behind_authentication for service in self._services):
            whole = self._add_chain("ah", "by what an authentication header protects", self._whole())
            behind = [Rule((*_AUTHENTICATED, goto(whole)), _HEADER), *behind]
        return (*self._fragments(leads_aside=leads_aside), *before, *behind)

    def _led_aside(self, behind: Sequence[Rule]) -> list[Rule]:
        """Lead readable packets on to the rules in `behind`, and the others aside."""
        on = self._lead_on(behind)
        unreadable = self._unreadable()
        portless = self._portless("portless", VISIBLE.protocols) if self._ported else unreadable
        ported = VISIBLE.protocols(self._ported) if self._ported else ()
        rules = [Rule((*ported, *VISIBLE.shows_ports(), on), "ports that can be read")] if ported else []
        # Packets that go the same way share a rule: for each rule, the kernel walks the maps behind it once more.
        other = [AUTHENTICATION, *self._ported]
        if portless != unreadable:
            rules.append(Rule((*ported, goto(portless)), "no ports that can be read"))
            other = [AUTHENTICATION]
        return [
            *rules,
            Rule((*transport.neither(other), on), "a protocol without ports"),
            Rule((*transport.protects_transport(), goto(self._authenticated())), _HEADER),
            Rule((goto(unreadable),), "judged by the source"),
        ]

    def _lead_on(self, behind: Sequence[Rule]) -> RuleVerdict:
        match behind:
            case []:
                return ACCEPT
            case [Rule((RuleVerdict(_, chain),))]:
                return goto(chain)  # no rule follows, so the packet need not return
        return goto(self._add_chain("readable", "what can be read", behind))

    def _fragments(self, *, leads_aside: bool) -> list[Rule]:
        """Return the rules that lead later fragments away before any rule reads a header."""
        rules = [rule for service in self._services for rule in service.fragment_rules()]
        if leads_aside:
            # Behind an authentication header no fragment header is read.
            selector = (*matches.family(6), *_AUTHENTICATED)
            rules.insert(0, Rule((*selector, goto(self._unreadable())), "no protocol that can be read"))
        later = self._add_chain("fragments", "later fragments have no ports", rules) if rules else ""
        ipv4 = Rule((*matches.later_fragment(4), goto(later) if later else ACCEPT), "later fragments")
        # With connection tracking, Linux reassembles an IPv6 packet and removes its fragment header. If that stood
        # behind other headers than hop-by-hop options, the header that follows it is then read as another kind.
        header = [
            *([Rule((*matches.later_fragment(6), jump(later)), "later fragments")] if later else []),
            # Services return the packets that they accept; without this rule, the rules behind would judge them again.
            Rule((*matches.later_fragment(6), ACCEPT), "later fragments"),
            *(Rule((*one, RETURN)) for one in matches.fragmented_in_place()),
            Rule((goto(self._unreadable()),), "a fragment header at an unexpected place"),
        ]
        fragmented = self._add_chain("fragmented", "a fragment header of IPv6", header)
        return [ipv4, Rule((*matches.fragmented(), jump(fragmented)), "fragments, later ones and others")]

    def _unreadable(self) -> str:
        rules = [rule for one in sorted(self._services, key=lambda one: not one.monitor) for rule in one.by_source()]
        return self._add_chain("unreadable", "judged by the source, for every service", [*rules, _ALL_HAVE_JUDGED])

    def _portless(self, way: str, of: Callable[[Iterable[int]], Selector], also: Collection[int] = ()) -> str:
        """Judge TCP or UDP packets by source, for each service that takes packets of the protocol, or all of `also`."""
        rules: list[Rule] = []
        for service in sorted(self._services, key=lambda one: (not one.monitor, not _takes_all(one, also))):
            numbers = [number for number in self._ported if taken.takes_any(service.spec, number)]
            if numbers == self._ported or (also and _takes_all(service, also)):
                rules += service.by_source()
            elif numbers:
                rules += service.by_source(of(numbers))
        unreadable = self._chains[self._unreadable()]
        rules.append(_ALL_HAVE_JUDGED)
        if tuple(rules) == unreadable.rules:
            return unreadable.name
        return self._add_chain(way, "judged by the source, for each service of the protocol", rules)

    def _authenticated(self) -> str:
        """Check that a packet holds its authentication header and any ports behind it;
        then judge by what it protects.
        """
        reach = [
            *(Rule((*one.is_reached(), RETURN), one.comment) for one in PROTECTED),
            Rule((goto(self._unreadable()),), "the packet ends before it does"),
        ]
        read = [
            *(Rule((*one.shows_ports(), RETURN), one.comment) for one in PROTECTED),
            Rule((jump(self._add_chain("ah.reach", "all of an authentication header", reach)),)),
        ]
        if self._ported:
            portless = self._portless("ah.portless", transport.protects, [AUTHENTICATION])
            read.append(Rule((*transport.protects(self._ported), goto(portless)), "no ports that can be read"))
        first = Rule((jump(self._add_chain("ah.read", "what is behind an authentication header", read)),))
        return self._add_chain("ah", "by what an authentication header protects", [first, *self._whole()])

    def _whole(self) -> list[Rule]:
        """Return rules for each service that takes a packet for its authentication header or for what that protects."""
        matching = [service for service in self._services if not service.spec.catch_all]
        deciding = [service for service in matching if not service.monitor]
        named = [service for service in deciding if _takes_all(service, [AUTHENTICATION])]
        rules = [rule for one in matching if one.monitor for rule in one.authenticated_rules()]
        rules += [rule for one in named for rule in one.authenticated_rules(back=True)]
        rules += [rule for one in deciding if one not in named for rule in one.authenticated_rules()]
        taken_at = [address for one in named for address in taken.at_addresses(one.spec)]
        if () in taken_at:
            return rules
        rules += [Rule((*address, RETURN), "no catch-all takes it") for address in taken_at]
        return rules + [rule for one in self._services if one.spec.catch_all for rule in one.authenticated_rules()]

    def _add_chain(self, way: str, comment: str, rules: Iterable[Rule]) -> str:
        name = names.way(self._generation, way)
        self._chains.setdefault(name, Chain(name, comment, tuple(rules)))
        return name


def _is_selective(service: ServiceSpec) -> bool:
    """Tell whether the service selects packets by more than the local address."""
    return bool(service.tcp or service.udp or service.protocols)


def _takes_all(service: ServiceChains, numbers: Iterable[int]) -> bool:
    """Tell whether the service takes every packet of these protocols at its addresses."""
    return all(taken.takes_whole(service.spec, number) for number in numbers)


def _takes_unreadable(service: ServiceSpec) -> bool:
    """Tell whether its rules apply to a packet with an unreadable protocol or ports, or an authentication header."""
    return any(taken.takes_whole(service, number) for number in (*taken.PORTED, AUTHENTICATION))
