# SPDX-License-Identifier: Apache-2.0
"""The chains and maps of one service. Pure.

    g42-api                 never-drop ports, control traffic, open connections; then the maps; then accepted
    g42-api.source          the maps alone: for control traffic, and for packets that are judged by source only
    g42-api.ah              the rules of g42-api before the maps, applied to what an authentication header protects
    g42-api.CN.ipv4, .ipv6  let exempt sources pass; count, drop
    g42-api.other.ipv4      count and drop what the maps hold regardless of region; first looks up g42-api.regions.ipv4
    g42-api.reject          instead of dropping: tell the sender

An accepted packet leaves by `return`. An ordinary packet got here by `goto` only, so it returns to the base chain,
whose policy accepts it. A packet that several services judge got here by `jump`, and returns to be judged by the next
service.

Rules that no packet of a service can match are left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop import utc
from geodrop.engine import control_traffic
from geodrop.errors import DataError
from geodrop.nftables import lookups, matches, names, ramps, taken
from geodrop.nftables.lookups import KEY, Shard
from geodrop.nftables.model import Chain, Content, Map, MapHeader, Rule, Space
from geodrop.nftables.netlink.expressions import (
    ACCEPT,
    DROP,
    PROHIBITED,
    RESET,
    RETURN,
    InSet,
    NamedCounter,
    RuleVerdict,
    goto,
    jump,
)
from geodrop.nftables.transport import AUTHENTICATION, PROTECTED, VISIBLE, protects
from geodrop.ruleset.intervals import WIDTH
from geodrop.ruleset.model import NO_CLASS, OTHER, Embedding
from geodrop.ruleset.ramp import share_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from geodrop.nftables.matches import Selector
    from geodrop.nftables.netlink.expressions import Expression, Payload
    from geodrop.nftables.netlink.uapi import KeyType
    from geodrop.nftables.overlay import Base
    from geodrop.nftables.transport import Transport
    from geodrop.ruleset.model import Ruleset, ServiceSpec, Target

FAMILIES = (4, 6)

_ON_THE_WIRE = {4: Space.IPV4, 6: Space.IPV6}
_SPACES = {Space.IPV4: "IPv4", Space.INSIDE: "IPv4 inside IPv6", Space.IPV6: "IPv6"}


class ServiceChains:
    """The chains and maps of one service. Its own chain comes first, then the chains that it leads to."""

    def __init__(
        self,
        ruleset: Ruleset,
        generation: int,
        service: ServiceSpec,
        base: Base | None = None,
        *,
        regions: bool = False,
    ) -> None:
        self._meta = ruleset.meta
        self._generation = generation
        self._service = service
        self._monitor = service.mode == "monitor"
        # The kernel's clock is asked even if `starts` is past: if the clock is set back, `starts` lies ahead again.
        self._starts = None if self._monitor else service.starts
        # A service that takes authentication headers takes whatever they protect.
        takes_headers = taken.takes_whole(service, AUTHENTICATION)
        self._protected = replace(service, tcp=(), udp=(), protocols=()) if takes_headers else service
        self._chains: dict[str, Chain] = {}
        self._shards: dict[Space, list[Shard]] = {space: [] for space in Space}
        self._never_drop_shards: dict[Space, list[Shard]] = {space: [] for space in Space}
        self._region_shards: dict[int, list[Shard]] = {family: [] for family in FAMILIES}
        self.maps: list[Map] = []
        self.of_regions: list[Chain] = []
        """The chains that elements of the region maps lead to; part of `chains` only with `regions`."""
        name = self._add_chain("", ())
        self._accepted = self._add_chain("accepted", self._counting_rules("accepted"))
        for family in FAMILIES if service.counted else ():
            self._add_region_map(ruleset, family, there=regions)
        embeds = any(target.kind == "embedded" for target in service.targets)
        for space in Space:  # IPv6 last: chains for embedded addresses look into the map for those
            if space is Space.INSIDE and not embeds:
                continue
            whole = self._columns(ruleset, space.family, "targets")
            map_name = names.service_map(generation, service.name, space)
            comment = f"service {service.name}, {_SPACES[space]}"
            if base and (base_map := base.base_map(service.name, space)):
                self._shards[space] = [Shard(map_name), Shard(base_map)]
                header = MapHeader(map_name, f"{comment}: what differs from {base_map}", KEY[space])
                content = whole if base.delta is None else base.delta[base_map]
                self.maps.append(Map(header, self._with_verdicts(content, space), base_map))
            else:
                self._shards[space] = self._add_maps(self._with_verdicts(whole, space), map_name, comment, KEY[space])
            if space is not Space.INSIDE:
                self._never_drop_prefixes(whole, space)
        by_source = (*self._look_up(self._shards), self._accept_rest)
        by_port = bool(service.tcp or service.udp) and not service.protocols
        cut = any(shard.bounds for shards in self._shards.values() for shard in shards)
        first = tuple(self._before_maps(names.service_chain(generation, service.name, "source")))
        self._looks_up_at_entry = by_port and not (first or cut or self._monitor)
        # Each rule that looks up a map slows the load. So a second chain exists only where the main one cannot be used.
        needs_source_chain = self._looks_up_at_entry or bool(first)
        self._source = self._add_chain("source", by_source) if needs_source_chain else name
        rules = (self._accept_rest,) if self._looks_up_at_entry else (*first, *by_source)
        self._chains[name] = Chain(name, self._comment(), rules)

    @property
    def spec(self) -> ServiceSpec:
        """Return the service as the ruleset describes it."""
        return self._service

    @property
    def monitor(self) -> bool:
        """Tell whether the service only counts."""
        return self._monitor

    @property
    def reads_behind_authentication(self) -> bool:
        """Tell whether ports or types behind an authentication header can decide; if not, the source alone decides."""
        return any(self._behind_authentication())

    @property
    def chains(self) -> list[Chain]:
        """Return all chains of the service."""
        return list(self._chains.values())

    def entry_rules(self) -> list[Rule]:
        """Return the rules that lead from the generation chain to this service.

        Each chain on the way costs a packet about 30 ns. So if nothing has to be judged before the maps, the generation
        chain looks them up itself, and only packets that are in none of them go to the service's chain.
        """
        rules = self._lead(taken.of_service(self._service), names.service_chain(self._generation, self._service.name))
        if self._looks_up_at_entry:
            direct = [
                rule
                for family, selector in taken.of_service_by_family(self._service)
                for rule in lookups.rules(selector, matches.SOURCE[family], self._shards[_ON_THE_WIRE[family]])
            ]
            rules = [*(replace(rule, comment=self._comment()) for rule in direct), *rules]
        return rules

    def fragment_rules(self) -> list[Rule]:
        """Return the rules that lead from the chain for later fragments to this service."""
        return self._lead(taken.of_later_fragments(self._service), self._source)

    def by_source(self, selector: Selector = ()) -> list[Rule]:
        """Return the rules that have packets to the service's local addresses judged by source only; they come back."""
        return self._lead([(*address, *selector) for address in taken.at_addresses(self._service)], self._source, jump)

    def authenticated_rules(self, *, back: bool = False) -> list[Rule]:
        """Return the rules that lead packets with a readable authentication header to this service.

        With `back` the packets return, since another service judges them too. All header lengths share one chain, which
        sends back packets that are not for the service. On kernels that do not remember which chains they have checked,
        each rule that leads to a map makes the kernel walk that map once more.
        """
        service = self._service
        behind = tuple(self._behind_authentication())
        judged = self._add_chain("ah", (*behind, Rule((goto(self._source),)))) if behind else self._source
        addresses = taken.at_addresses(service)
        if taken.takes_whole(service, AUTHENTICATION):
            return self._lead(addresses, judged, jump if back else None)
        rules = []
        if service.protocols:
            rules += self._lead([(*one, *protects(service.protocols)) for one in addresses], judged)
        # From a chain that was jumped to, a packet can skip the services that follow only by a final verdict.
        end = [Rule((goto(judged),))] if self._monitor else [Rule((jump(judged),)), Rule((ACCEPT,))]
        for ranges, numbers in taken.ports(service).items():
            others = [other for transport in PROTECTED if (other := transport.other_ports(ranges))]
            asked = self._add_chain(
                f"ah.{'-'.join(map(str, numbers))}", (*(Rule((*one, RETURN)) for one in others), *end)
            )
            rules += self._lead([(*one, *protects(numbers)) for one in addresses], asked, jump)
        return rules

    def _lead(
        self, found: Sequence[Selector], chain: str, how: Callable[[str], RuleVerdict] | None = None
    ) -> list[Rule]:
        lead = how or (jump if self._monitor else goto)
        return [Rule((*selector, lead(chain)), self._comment()) for selector in found]

    @property
    def _accept_rest(self) -> Rule:
        return Rule((goto(self._accepted),))

    def _look_up(self, shards: Mapping[Space, Sequence[Shard]]) -> Iterator[Rule]:
        for family, space in _ON_THE_WIRE.items():
            yield from lookups.rules(matches.family(family), matches.SOURCE[family], shards[space])

    def _add_maps(self, content: Content, name: str, comment: str, key: KeyType) -> list[Shard]:
        cuts = lookups.cut(content, name, comment, key)
        self.maps += [map_ for _, map_ in cuts]
        return [shard for shard, _ in cuts]

    def led_to(self) -> Iterator[Chain]:
        """Yield the chains that map elements lead to, directly or not, except those that look up maps themselves."""
        asking = {self._chain_for(one, Space.IPV6) for one in self._service.targets if one.kind == "embedded"}
        todo = [verdict.chain for map_ in self.maps for verdict in map_.content.verdicts]
        seen: set[str] = asking | {""}
        while todo:
            if (name := todo.pop()) not in seen:
                seen.add(name)
                yield (chain := self._chains[name])
                parts = (part for rule in chain.rules for part in rule.expressions)
                todo += [part.chain for part in parts if isinstance(part, RuleVerdict)]

    def _never_drop_prefixes(self, content: Content, space: Space) -> None:
        """Make a map of never-drop prefixes alone, for packets accepted before the large map:
        rung 1 must count them.
        """
        numbers = {number for number, target in enumerate(self._service.targets) if target.kind == "never-drop"}
        if numbers and (_keeps_established(self._protected) or any(self._control(self._protected, VISIBLE))):
            name = names.never_drop_map(self._generation, self._service.name, space.family)
            verdicts = (goto(self._never_drop_chain()),) * len(self._service.targets)
            only = replace(content.only(numbers), verdicts=verdicts)
            comment = f"service {self._service.name}, never-drop, {_SPACES[space]}"
            self._never_drop_shards[space] = self._add_maps(only, name, comment, KEY[space])

    def _before_maps(self, source: str) -> Iterator[Rule]:
        """Yield the rules that read more than the source, without those for packets that the service never takes."""
        service = self._service
        yield from self._never_drop_ports(service, VISIBLE)
        spared = tuple(self._look_up(self._never_drop_shards))
        if control := tuple(self._control(service, VISIBLE)):
            # One comparison keeps TCP, which is nearly all traffic, out of these rules.
            numbers = [
                one
                for one in (control_traffic.ICMP, control_traffic.UDP, control_traffic.ICMPV6)
                if taken.takes_any(service, one)
            ]
            chain = self._add_chain("control", (*spared, *control, Rule((goto(source),))))
            yield Rule((*VISIBLE.protocols(numbers), goto(chain)), "ICMP errors, neighbour discovery, DHCP")
        let_through = self._accepted
        if spared and _keeps_established(service):
            let_through = self._add_chain("open", (*spared, self._accept_rest))
        yield from self._open_connections(service, VISIBLE, let_through)

    def _behind_authentication(self) -> Iterator[Rule]:
        """Yield the rules of `_before_maps` for what an authentication header protects, for each possible offset."""
        for transport in PROTECTED:
            yield from self._never_drop_ports(self._protected, transport)
        yield from self._look_up(self._never_drop_shards)
        for transport in PROTECTED:
            yield from self._control(self._protected, transport)
            yield from self._open_connections(self._protected, transport, self._accepted)

    def _never_drop_ports(self, service: ServiceSpec, transport: Transport) -> Iterator[Rule]:
        for protocol, ranges in (
            (control_traffic.TCP, self._meta.never_drop_tcp),
            (control_traffic.UDP, self._meta.never_drop_udp),
        ):
            if ports := taken.intersection(taken.taken_ranges(service, protocol), ranges):
                selector = transport.destination_ports([protocol], ports)
                yield Rule((*selector, goto(self._never_drop_chain())), "never-drop ports")

    def _open_connections(self, service: ServiceSpec, transport: Transport, let_through: str) -> Iterator[Rule]:
        if _keeps_established(service):
            for selector in transport.no_openings():
                yield Rule((*selector, goto(let_through)), "TCP that opens no connection")

    def _control(self, service: ServiceSpec, transport: Transport) -> Iterator[Rule]:
        """Yield the rules of rung 2 (control traffic) for the packets that the service takes."""
        let_through = goto(self._accepted)
        if taken.takes_any(service, control_traffic.ICMP):
            yield Rule((*transport.icmp_errors(), let_through), "ICMP errors")
        if taken.takes_any(service, control_traffic.ICMPV6):
            yield Rule((*transport.icmpv6_errors(), let_through), "ICMPv6 errors")
            yield Rule((*transport.neighbour_discovery(), let_through), "neighbour discovery")
        udp = taken.taken_ranges(service, control_traffic.UDP)
        for family, pairs in control_traffic.DHCP_PORTS.items():
            for source, destination in pairs:
                if any(first <= destination <= last for first, last in udp):
                    yield Rule((*transport.dhcp(family, source, destination), let_through), "DHCP")

    def _columns(self, ruleset: Ruleset, family: int, values: str) -> Content:
        """Read a map's intervals from the ruleset, without verdicts; `values` names the section with their meanings."""
        section = f"nft/{self._service.name}/ipv{family}/{values}"
        start = section[: section.rindex("/")]
        starts, ends = ruleset.sections[f"{start}/starts"], ruleset.sections[f"{start}/ends"]
        return Content(WIDTH[family], starts, ends, ruleset.sections[section].cast("H"), ())

    def _add_region_map(self, ruleset: Ruleset, family: int, *, there: bool) -> None:
        """Make the map of the regions that are counted separately, and the chains that it leads to."""
        content, space = self._columns(ruleset, family, "counted/classes"), _ON_THE_WIRE[family]
        # Every number needs a verdict, even that of a region which only the other family has.
        verdicts = [RETURN] * len(self._service.counted)
        for number in sorted(set(content.targets)):
            label = str(self._meta.label(self._service.counted[number]))
            name = names.service_chain(self._generation, self._service.name, f"{label}.ipv{family}")
            self.of_regions += self._denying(name, label, family)
            verdicts[number] = goto(name)
        if there:
            self._chains |= {chain.name: chain for chain in self.of_regions}
            name = names.region_map(self._generation, self._service.name, family)
            comment = f"service {self._service.name}, regions counted apart, {_SPACES[space]}"
            told = replace(content, verdicts=tuple(verdicts))
            self._region_shards[family] = self._add_maps(told, name, comment, KEY[space])

    def _with_verdicts(self, content: Content, space: Space) -> Content:
        """Add the verdicts to a map and make the chains they lead to. One verdict more, the last, means "no map"."""
        present = set(content.targets)
        # Every number needs a verdict, even that of a target which only the other family has.
        verdicts = [
            goto(self._chain_for(target, space)) if number in present else RETURN
            for number, target in enumerate(self._service.targets)
        ]
        return replace(content, verdicts=(*verdicts, goto(self._accepted)))

    def _chain_for(self, target: Target, space: Space) -> str:
        """Return the name of the chain that an element with this target leads to; make the chain if needed."""
        match target.kind, space:
            case "drop", _:
                return self._denying_chain(target.klass, space)
            case (("never-drop" | "special"), Space.INSIDE):
                # Never-drop and special do not apply to an address inside another one.
                return self._accepted if target.klass == NO_CLASS else self._denying_chain(target.klass, space)
            case "never-drop", _:
                return self._never_drop_chain()
            case "special", _:
                return self._accepted
            case "embedded", Space.IPV6 if target.embedding:
                embedding = Embedding(target.embedding)
                rules = lookups.embedded_rules(embedding, self._shards[Space.INSIDE])
                return self._add_chain(lookups.EMBEDDED[embedding], (*rules, self._accept_rest))
        raise DataError(f"damaged ruleset (an {_SPACES[space]} interval leads to {target})", "compile it again")

    def _never_drop_chain(self) -> str:
        """Return the name of the chain that counts never-drop packets and accepts them."""
        return self._add_chain("never-drop", self._counting_rules("never_drop"))

    def _denying_chain(self, klass: int, space: Space) -> str:
        """Return the name of the chain that counts and drops a counter class; in monitor, it only counts `would_drop`.

        IPv4 addresses inside IPv6 ones keep counting as `other`, since no region map holds them.
        """
        label, family = self._meta.label(klass), 4 if space is Space.IPV4 else 6
        shards = self._region_shards[family] if klass == OTHER else ()
        first = lookups.rules(matches.family(family), matches.SOURCE[family], shards)
        name = names.service_chain(self._generation, self._service.name, f"{label}.ipv{family}")
        if name not in self._chains:
            self._chains |= {chain.name: chain for chain in self._denying(name, label, family, first)}
        return name

    def _denials(self, name: str, label: str | None, family: int) -> tuple[Rule, ...]:
        """Return the rules that count and drop a counter class, for the chain of that name."""
        exempt = (*matches.family(family), matches.SOURCE[family], InSet(names.EXEMPT[family]))
        rules = [self._counting_rule("exempted", RETURN, family, selector=exempt)]
        if self._monitor:
            return (*rules, self._counting_rule("would_drop", RETURN, family, label))
        if self._starts:
            rules.append(self._counted_before(self._starts, family, label))
        if family == 6 and self._service.ramp:
            rules += [Rule((*selector, goto(f"{name}.{what}"))) for what, selector in ramps.INSIDE_IPV6.items()]
        return (*rules, *self._dropped(label, family, ramps.KEYS[family]))

    def _dropped(self, label: str | None, family: int, key: Payload) -> Iterator[Rule]:
        """Yield the rules that drop those sources that the ramp drops, by the bytes that are hashed."""
        for share, until in ramps.steps(self._service.ramp):
            if not share:
                yield self._counted_before(until, family, label)
                continue
            selector = ramps.outside(self._service.name, family, key, share)
            ahead = matches.before(until) if until else ()
            told = f"{share_text(share)} of all sources" + (f" until {utc.moment(until)}" if until else "")
            yield self._counting_rule("would_drop", RETURN, family, label, (*ahead, *selector), told)
        yield self._counting_rule("dropped", self._refusal(), family, label)

    def _counted_before(self, moment: int, family: int, label: str | None) -> Rule:
        ahead = matches.before(moment)
        return self._counting_rule("would_drop", RETURN, family, label, ahead, f"until {utc.moment(moment)}")

    def _denying(self, name: str, label: str | None, family: int, first: Sequence[Rule] = ()) -> Iterator[Chain]:
        """Yield the chain that counts and drops a counter class, and those it leads to for a ramp."""
        yield Chain(name, "", (*first, *self._denials(name, label, family)))
        if family == 6 and self._service.ramp and not self._monitor:
            for what in ramps.INSIDE_IPV6:
                yield Chain(f"{name}.{what}", "", tuple(self._dropped(label, family, ramps.KEYS[what])))

    def _refusal(self) -> RuleVerdict:
        """Return the verdict for denied packets: drop, or goto the chain that rejects them."""
        if self._service.action != "reject":
            return DROP
        # TCP is rejected by a reset, everything else by ICMP.
        reset = Rule((*VISIBLE.protocols([control_traffic.TCP]), RESET))
        return goto(self._add_chain("reject", (reset, Rule((PROHIBITED,)))))

    def _counting_rules(self, what: str) -> tuple[Rule, ...]:
        """Return rules that count by family, then accept."""
        return tuple(self._counting_rule(what, RETURN, family, selector=matches.family(family)) for family in FAMILIES)

    def _counting_rule(  # noqa: PLR0913, PLR0917 - the parts of a rule
        self,
        what: str,
        verdict: RuleVerdict,
        family: int,
        label: str | None = None,
        selector: Sequence[Expression] = (),
        comment: str = "",
    ) -> Rule:
        count = NamedCounter(str(names.CounterName(self._service.name, label, f"ipv{family}", what)))
        return Rule((*selector, count, verdict), comment)

    def _add_chain(self, suffix: str, rules: tuple[Rule, ...]) -> str:
        name = names.service_chain(self._generation, self._service.name, suffix)
        self._chains.setdefault(name, Chain(name, "", rules))
        return name

    def _comment(self) -> str:
        effect = self._service.mode
        if self._starts:
            effect += f" from {utc.moment(self._starts)}"
        return f"service {self._service.name}, {effect}"


def _keeps_established(service: ServiceSpec) -> bool:
    """Tell whether the service judges only those TCP packets that open a connection."""
    return service.established == "keep" and taken.takes_any(service, control_traffic.TCP)
