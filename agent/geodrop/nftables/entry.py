"""Which service judges a packet: the chains of a generation that lead to those of its services. Pure.

    g42             later fragments aside; ports, protocols, addresses -> the map of a service that is asked at once;
                    else -> g42-api; services in monitor are jumped to and come back
    g42.readable    the rest of g42, where packets that cannot be read, or hold an authentication header, are led
                    aside in the middle of it
    g42.fragmented  a fragment header of IPv6: of a later fragment, or where it must be; else unreadable
    g42.fragments   later fragments, which have no ports though the kernel reads their data as such
    g42.unreadable  no protocol can be read: judged by its source for every service at this local address
    g42.portless    TCP or UDP without ports: the same for each service that takes any packet of the protocol
    g42.ah          an authentication header: does it end in the packet, do ports behind it; then by what it protects

A key that cannot be read ends a rule, and nothing says "cannot be read". So rules that read come first and lead packets
on; what is left could not be read.

Where several services judge a packet, those in monitor come first. The first of the others that drops it ends its way:
the next would drop it too, or count a packet that is dropped already.
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
_ALL_HAVE_JUDGED = Rule((ACCEPT,), "all have judged it")
"""Not the end of the chain: that might lead back to where the packet came from, and to judgement again."""


def ordered(services: Iterable[ServiceSpec]) -> list[ServiceSpec]:
    """Services with a match before those without; of each, those in monitor first, since they only look."""
    return sorted(services, key=lambda one: (one.catch_all, one.mode != "monitor"))


def chains(generation: int, comment: str, services: Sequence[ServiceChains]) -> list[Chain]:
    """All that lead to the services, which are in order; the generation's own comes first."""
    ways = _Ways(generation, services)
    entry = ways.entry()
    return [Chain(names.generation_chain(generation), comment, entry), *ways.chains]


class _Ways:
    """Chains of a generation beside its own, made when something leads to them."""

    def __init__(self, generation: int, services: Sequence[ServiceChains]) -> None:
        self._generation = generation
        self._services = services
        self._ported = [number for number in taken.PORTED if any(taken.takes_any(one.spec, number) for one in services)]
        self._chains: dict[str, Chain] = {}

    @property
    def chains(self) -> list[Chain]:
        """All that were made."""
        return list(self._chains.values())

    def entry(self) -> tuple[Rule, ...]:
        """The rules of the generation's own chain."""
        # What reads ports, or a protocol without them, does not apply to what cannot be read, so it may stand before.
        # Among services that decide no packet is for two, so their order is free.
        order = sorted(self._services, key=lambda one: (one.spec.catch_all, not one.monitor, _takes_unread(one.spec)))
        count = next((n for n, one in enumerate(order) if _takes_unread(one.spec)), len(order))
        before, behind = (
            [rule for service in some for rule in service.entry_rules()] for some in (order[:count], order[count:])
        )
        # Services that take all that is sent to their addresses take this too, if none before them ends its way.
        apart = any(_asks(service.spec) for service in self._services) or not all(
            service.monitor for service in self._services[:-1]
        )
        if apart:
            behind = self._led_aside(behind)
        elif any(service.reads_behind_authentication for service in self._services):
            whole = self._put("ah", "by what an authentication header protects", self._whole())
            behind = [Rule((*_AUTHENTICATED, goto(whole)), _HEADER), *behind]
        return (*self._fragments(apart=apart), *before, *behind)

    def _led_aside(self, behind: Sequence[Rule]) -> list[Rule]:
        """What can be read goes on to the rules behind, the rest elsewhere."""
        on = self._on(behind)
        unreadable = self._unreadable()
        portless = self._portless("portless", VISIBLE.protocols) if self._ported else unreadable
        ported = VISIBLE.protocols(self._ported) if self._ported else ()
        rules = [Rule((*ported, *VISIBLE.shows_ports(), on), "ports that can be read")] if ported else []
        # What goes the same way shares a rule: each is another walk of the maps behind it.
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

    def _on(self, behind: Sequence[Rule]) -> RuleVerdict:
        match behind:
            case []:
                return ACCEPT
            case [Rule((RuleVerdict(_, chain),))]:
                return goto(chain)  # nothing is left to come back for
        return goto(self._put("readable", "what can be read", behind))

    def _fragments(self, *, apart: bool) -> list[Rule]:
        """Later fragments are led away before anything reads a header."""
        rules = [rule for service in self._services for rule in service.fragment_rules()]
        if apart:
            # The fragment header is behind an authentication header, where none is read.
            selector = (*matches.family(6), *_AUTHENTICATED)
            rules.insert(0, Rule((*selector, goto(self._unreadable())), "no protocol that can be read"))
        later = self._put("fragments", "later fragments have no ports", rules) if rules else ""
        ipv4 = Rule((*matches.later_fragment(4), goto(later) if later else ACCEPT), "later fragments")
        # Where connections are tracked, Linux puts an IPv6 packet together and loses a fragment header that stands
        # behind others than hop-by-hop options: what follows it is then read as the first header's kind.
        header = [
            *([Rule((*matches.later_fragment(6), jump(later)), "later fragments")] if later else []),
            # Services hand back what they let through; the rules behind would judge it again.
            Rule((*matches.later_fragment(6), ACCEPT), "later fragments"),
            *(Rule((*one, RETURN)) for one in matches.fragmented_in_place()),
            Rule((goto(self._unreadable()),), "not what the kernel may take it for"),
        ]
        fragmented = self._put("fragmented", "a fragment header of IPv6", header)
        return [ipv4, Rule((*matches.fragmented(), jump(fragmented)), "fragments, later ones and others")]

    def _unreadable(self) -> str:
        rules = [rule for one in sorted(self._services, key=lambda one: not one.monitor) for rule in one.by_source()]
        return self._put("unreadable", "judged by the source, for every service", [*rules, _ALL_HAVE_JUDGED])

    def _portless(self, way: str, of: Callable[[Iterable[int]], Selector], also: Collection[int] = ()) -> str:
        """For packets of TCP or UDP: each service that takes any packet of the protocol, or all of `also`."""
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
        return self._put(way, "judged by the source, for each service of the protocol", rules)

    def _authenticated(self) -> str:
        """Read how far an authentication header reaches, and whether ports behind it do; then by what is behind it."""
        reach = [
            *(Rule((*one.is_reached(), RETURN), one.comment) for one in PROTECTED),
            Rule((goto(self._unreadable()),), "it does not end in the packet"),
        ]
        read = [
            *(Rule((*one.shows_ports(), RETURN), one.comment) for one in PROTECTED),
            Rule((jump(self._put("ah.reach", "all of an authentication header", reach)),)),
        ]
        if self._ported:
            portless = self._portless("ah.portless", transport.protects, [AUTHENTICATION])
            read.append(Rule((*transport.protects(self._ported), goto(portless)), "no ports that can be read"))
        first = Rule((jump(self._put("ah.read", "what is behind an authentication header", read)),))
        return self._put("ah", "by what an authentication header protects", [first, *self._whole()])

    def _whole(self) -> list[Rule]:
        """Each service that takes the packet for its authentication header or for what that protects."""
        matching = [service for service in self._services if not service.spec.catch_all]
        deciding = [service for service in matching if not service.monitor]
        named = [service for service in deciding if _takes_all(service, [AUTHENTICATION])]
        rules = [rule for one in matching if one.monitor for rule in one.authenticated_rules()]
        rules += [rule for one in named for rule in one.authenticated_rules(back=True)]
        rules += [rule for one in deciding if one not in named for rule in one.authenticated_rules()]
        taken_at = [address for one in named for address in taken.at_addresses(one.spec)]
        if () in taken_at:
            return rules
        rules += [Rule((*address, RETURN), "no service without a match takes it") for address in taken_at]
        return rules + [rule for one in self._services if one.spec.catch_all for rule in one.authenticated_rules()]

    def _put(self, way: str, comment: str, rules: Iterable[Rule]) -> str:
        name = names.way(self._generation, way)
        self._chains.setdefault(name, Chain(name, comment, tuple(rules)))
        return name


def _asks(service: ServiceSpec) -> bool:
    """Whether it takes packets by more than their local address."""
    return bool(service.tcp or service.udp or service.protocols)


def _takes_all(service: ServiceChains, numbers: Iterable[int]) -> bool:
    """Whether it takes every packet of these protocols to its addresses."""
    return all(taken.takes_whole(service.spec, number) for number in numbers)


def _takes_unread(service: ServiceSpec) -> bool:
    """Whether its rules apply to a packet whose protocol or ports cannot be read, or to an authentication header."""
    return any(taken.takes_whole(service, number) for number in (*taken.PORTED, AUTHENTICATION))
