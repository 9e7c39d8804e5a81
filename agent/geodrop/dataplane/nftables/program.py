"""From a ruleset to everything that one generation puts into the kernel. Pure.

    prerouting              interface -> g42
    g42                     later fragments aside; addresses, protocols, ports -> the map of a service that is asked at
                            once; else -> g42-api;
                            services in monitor are jumped to and come back
    g42.fragments           the same for later fragments, which have no ports -> g42-api.fragments
    g42-api                 never-drop ports, control traffic, open connections; then the maps; then accepted
    g42-api.CN.ipv4, .ipv6  count, drop
    g42-api.reject          in place of the drop: tell the sender

A packet that a service drops thus passes: interface, port, map, counter, drop. Rules that none of a service's packets
can match are left out. docs/decisions/0003-nftables-by-raw-netlink.md has the figures behind the shape.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.dataplane import rung2
from geodrop.dataplane.engine import Scope
from geodrop.dataplane.interfaces import EVERY, LOOPBACK, VIRTUAL
from geodrop.dataplane.nftables import lookups, names, selectors, uapi
from geodrop.dataplane.nftables.expressions import (
    ACCEPT,
    DROP,
    PROHIBITED,
    RESET,
    RETURN,
    Count,
    Verdict,
    goto,
    jump,
)
from geodrop.dataplane.nftables.lookups import KEY, Shard
from geodrop.dataplane.nftables.model import WIDTH, Chain, Content, Hook, Map, MapHeader, Program, Rule
from geodrop.dataplane.nftables.stamp import Stamp, utc
from geodrop.errors import DataError
from geodrop.ruleset.model import NO_CLASS, Embedding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from geodrop.dataplane.nftables.expressions import Expression
    from geodrop.dataplane.nftables.thin import Base
    from geodrop.ruleset.model import Ruleset, ServiceSpec, Target

FAMILIES = (4, 6)

HOOK = Hook("filter", uapi.NF_INET_PRE_ROUTING, -450, uapi.VerdictCode.ACCEPT)
"""Before defragmentation (-400), the raw tables (-300) and connection tracking (-200): packets as on the wire."""

JUDGED_BY_XDP = "judged by xdp"
"""Comment of the rules that let packets pass which an XDP program has judged."""

COMMENT_BYTES = 127
"""What nft shows of a comment without its NUL (NFTNL_UDATA_COMMENT_MAXLEN, libnftnl/udata.h)."""

_NOT_XDP = "; not xdp: "

_ONLY_IF_NAMED = (
    Rule((*selectors.interface(LOOPBACK), ACCEPT), "only judged if it is named"),
    Rule((*selectors.of_kinds(VIRTUAL), ACCEPT), "only judged if they are named"),
)
"""What `*` does not mean."""

BASE_COMMENT = "packets that arrive on these interfaces are judged by one generation"


def build(ruleset: Ruleset, generation: int, interfaces: Sequence[str], now: int, base: Base | None = None) -> Program:
    """Everything of one generation; `now`, in seconds since the epoch, is when it says that it was loaded.

    Nothing else depends on the clock of the load, which may be wrong. With a base the generation is a thin one.
    """
    # Services with a match come before those without; of each, those in monitor first, since they only look.
    ordered = sorted(ruleset.meta.services, key=lambda service: (service.catch_all, service.mode != "monitor"))
    services = [_Service(ruleset, generation, service, base) for service in ordered]
    fragments = tuple(rule for service in services for rule in service.fragment_rules())
    aside = names.fragments_chain(generation)
    lead_away = [
        Rule((*selectors.later_fragment(family), goto(aside) if fragments else ACCEPT), "later fragments")
        for family in FAMILIES
    ]
    entry = (*lead_away, *(rule for service in services for rule in service.entry_rules()))
    chains = [Chain(names.generation_chain(generation), str(Stamp(generation, ruleset.digest, now)), entry)]
    if fragments:
        chains.append(Chain(aside, "later fragments have no ports", fragments))
    chains += [chain for service in services for chain in service.chains]
    maps = tuple(map_ for service in services for map_ in service.maps)
    scope = Scope(tuple(interfaces))
    if base is None:
        return Program(generation, _counters(chains), tuple(chains), maps, switch(generation, scope))
    either = [
        chain
        for service in ordered
        for number in (generation, base.generation)
        for chain in _Service(ruleset, number, service).led_to()
    ]
    counters = _counters(chains)
    if base.moved is None:
        led_to = {chain.name for chain in either}
        chains = [chain for chain in chains if chain.name not in led_to]
    return Program(generation, counters, tuple(chains), maps, switch(generation, scope), base.generation, tuple(either))


def switch(generation: int, scope: Scope) -> tuple[Rule, ...]:
    """The base chain's rules. Their comments count them, so that a missing one shows, and say why it is not xdp."""
    exempt = tuple(
        Rule((*selectors.interface_number(number), ACCEPT), JUDGED_BY_XDP) for number in sorted(set(scope.elsewhere))
    )
    # Every one comes last: what is named is judged, whatever it is.
    ordered = sorted(set(scope.names), key=lambda name: (name == EVERY, name))
    entry = goto(names.generation_chain(generation))
    rules = [
        Rule((*selectors.interface(name), entry), _with_reason(number, len(ordered), scope.why.get(name, "")))
        for number, name in enumerate(ordered, start=1)
    ]
    if EVERY in ordered:
        rules[-1:-1] = _ONLY_IF_NAMED
    return (*exempt, *rules)


def reason_in(comment: str) -> str:
    """Why an interface is not on xdp, as `switch` wrote it; cut to what a comment holds."""
    return comment.partition(_NOT_XDP)[2]


def _with_reason(number: int, count: int, why: str) -> str:
    text = f"interface {number} of {count}{_NOT_XDP if why else ''}{why}"
    if len(text.encode()) <= COMMENT_BYTES:
        return text
    return text.encode()[: COMMENT_BYTES - 3].decode(errors="ignore") + "..."


def base_chain(rules: tuple[Rule, ...] = ()) -> Chain:
    """The one chain that the kernel calls by itself."""
    return Chain(names.BASE, BASE_COMMENT, rules, HOOK)


class _Service:
    """The chains and maps of one service: its own chain first, then what that leads to."""

    def __init__(self, ruleset: Ruleset, generation: int, service: ServiceSpec, base: Base | None = None) -> None:
        self._meta = ruleset.meta
        self._generation = generation
        self._service = service
        self._monitor = service.mode == "monitor"
        # Always by the kernel's clock, however long ago it was: what sets the clock back makes it lie ahead again.
        self._starts = None if self._monitor else service.starts
        # Services in monitor were jumped to, so `return` hands the packet on to the service that decides.
        self._pass = RETURN if self._monitor else ACCEPT
        self._chains: dict[str, Chain] = {}
        self._shards: dict[int, list[Shard]] = {4: [], 6: []}
        self._spared: dict[int, list[Shard]] = {4: [], 6: []}
        self.maps: list[Map] = []
        name = self._put("", ())
        self._accepted = self._put("accepted", self._leave("accepted", self._pass))
        for family in FAMILIES:  # IPv4 first: chains for embedded addresses look into its maps
            whole = self._columns(ruleset, family)
            map_name = names.service_map(generation, service.name, family)
            comment = f"service {service.name}, IPv{family}"
            if base and (below := base.map_below(service.name, family)):
                self._shards[family] = [Shard(map_name), Shard(below)]
                header = MapHeader(map_name, f"{comment}: what differs from {below}", KEY[family])
                content = whole if base.moved is None else base.moved[below]
                self.maps.append(Map(header, self._with_verdicts(content, family), below))
            else:
                self._shards[family] = self._cut(self._with_verdicts(whole, family), map_name, comment)
            self._never_drop_prefixes(whole, family)
        first = tuple(self._before_maps())
        by_port = bool(service.tcp or service.udp) and not service.protocols
        cut = any(shard.bounds for shards in self._shards.values() for shard in shards)
        self._looks_up_at_entry = by_port and not (first or cut or self._monitor)
        rules = () if self._looks_up_at_entry else (*first, *self._look_up(self._shards))
        self._chains[name] = Chain(name, self._comment(), (*rules, self._rest))

    @property
    def chains(self) -> list[Chain]:
        """All chains of the service."""
        return list(self._chains.values())

    def entry_rules(self) -> list[Rule]:
        """What leads from the generation chain to this service.

        Each chain on the way costs a packet some 30 ns. So where nothing stands before the maps they are asked right
        here, and of all packets only those that are not in them go to the service's chain.
        """
        name = names.service_chain(self._generation, self._service.name)
        verdict = jump(name) if self._monitor else goto(name)
        rules = [Rule((*selector, verdict), self._comment()) for selector in selectors.of_service(self._service)]
        if self._looks_up_at_entry:
            direct = [
                rule
                for family, selector in selectors.of_service_by_family(self._service)
                for rule in lookups.rules(selector, selectors.SOURCE[family], self._shards[family])
            ]
            rules = [*(replace(rule, comment=self._comment()) for rule in direct), *rules]
        return rules

    def fragment_rules(self) -> list[Rule]:
        """What leads from the chain for later fragments to this service."""
        found = selectors.of_later_fragments(self._service)
        if not found:
            return []
        name = self._put("fragments", (*self._look_up(self._shards), self._rest))
        verdict = jump(name) if self._monitor else goto(name)
        return [Rule((*selector, verdict), self._comment()) for selector in found]

    @property
    def _keeps(self) -> bool:
        return self._service.established == "keep" and self._takes(rung2.TCP)

    @property
    def _rest(self) -> Rule:
        return Rule((goto(self._accepted),))

    def _look_up(self, shards: Mapping[int, Sequence[Shard]]) -> Iterator[Rule]:
        for family in FAMILIES:
            yield from lookups.rules(selectors.family(family), selectors.SOURCE[family], shards[family])

    def _cut(self, content: Content, name: str, comment: str) -> list[Shard]:
        cuts = lookups.cut(content, name, comment)
        self.maps += [map_ for _, map_ in cuts]
        return [shard for shard, _ in cuts]

    def led_to(self) -> Iterator[Chain]:
        """The chains that elements of its maps lead to, and those that they go on to; but for what asks maps again."""
        asking = {self._lead(one, 6) for one in self._service.targets if one.kind == "embedded"}
        todo = [verdict.chain for map_ in self.maps for verdict in map_.content.verdicts]
        seen: set[str] = asking | {""}
        while todo:
            if (name := todo.pop()) not in seen:
                seen.add(name)
                yield (chain := self._chains[name])
                parts = (part for rule in chain.rules for part in rule.expressions)
                todo += [part.chain for part in parts if isinstance(part, Verdict)]

    def _never_drop_prefixes(self, content: Content, family: int) -> None:
        """A map of their own, for packets that are let through before the large one is asked: rung 1 counts first."""
        numbers = {number for number, target in enumerate(self._service.targets) if target.kind == "never-drop"}
        if numbers and (self._keeps or any(self._control())):
            name = names.never_drop_map(self._generation, self._service.name, family)
            verdicts = (goto(self._never_drop()),) * len(self._service.targets)
            only = replace(content.only(numbers), verdicts=verdicts)
            self._spared[family] = self._cut(only, name, f"service {self._service.name}, never-drop, IPv{family}")

    def _before_maps(self) -> Iterator[Rule]:
        """What is judged by more than the source; left out where the service takes no such packets."""
        service = self._service
        for protocol, ranges in ((rung2.TCP, self._meta.never_drop_tcp), (rung2.UDP, self._meta.never_drop_udp)):
            if ports := selectors.intersection(selectors.taken_ranges(service, protocol), ranges):
                selector = selectors.destination_ports([protocol], ports)
                yield Rule((*selector, goto(self._never_drop())), "never-drop ports")
        spared, control_rules = tuple(self._look_up(self._spared)), tuple(self._control())
        if self._monitor:
            # From a chain that was jumped to, `return` would lead back to the maps.
            yield from (*spared, *control_rules)
        elif control_rules:
            # One comparison keeps TCP, nearly all there is, out of these rules.
            numbers = [number for number in (rung2.ICMP, rung2.UDP, rung2.ICMPV6) if self._takes(number)]
            chain = self._put("control", (*spared, *control_rules))
            yield Rule((*selectors.protocols(numbers), jump(chain)), "ICMP errors, neighbour discovery, DHCP")
        if self._keeps:
            let_through = self._accepted
            if spared and not self._monitor:
                let_through = self._put("open", (*spared, Rule((goto(self._accepted),))))
            yield Rule((*selectors.no_opening(), goto(let_through)), "TCP that opens no connection")

    def _control(self) -> Iterator[Rule]:
        """Rung 2, as far as the service takes such packets."""
        let_through = goto(self._accepted)
        if self._takes(rung2.ICMP):
            yield Rule((*selectors.icmp_errors(), let_through), "ICMP errors")
        if self._takes(rung2.ICMPV6):
            yield Rule((*selectors.icmpv6_errors(), let_through), "ICMPv6 errors")
            yield Rule((*selectors.neighbour_discovery(), let_through), "neighbour discovery")
        udp = selectors.taken_ranges(self._service, rung2.UDP)
        for family, pairs in rung2.DHCP_PORTS.items():
            for source, destination in pairs:
                if any(first <= destination <= last for first, last in udp):
                    yield Rule((*selectors.dhcp(family, source, destination), let_through), "DHCP")

    def _takes(self, protocol: int) -> bool:
        ports = {rung2.TCP: self._service.tcp, rung2.UDP: self._service.udp}.get(protocol)
        return bool(ports) or selectors.takes_whole(self._service, protocol)

    def _columns(self, ruleset: Ruleset, family: int) -> Content:
        """What the ruleset says of the map, without verdicts."""
        section = f"nft/{self._service.name}/ipv{family}"
        starts, ends = ruleset.sections[f"{section}/starts"], ruleset.sections[f"{section}/ends"]
        return Content(WIDTH[family], starts, ends, ruleset.sections[f"{section}/targets"].cast("H"), ())

    def _with_verdicts(self, content: Content, family: int) -> Content:
        """With the chains that its elements lead to, which are made. One number more means: in no map."""
        present = set(content.targets)
        # A verdict for each number, also of targets that only the other family has.
        verdicts = [
            goto(self._lead(target, family)) if number in present else ACCEPT
            for number, target in enumerate(self._service.targets)
        ]
        return replace(content, verdicts=(*verdicts, goto(self._accepted)))

    def _lead(self, target: Target, family: int) -> str:
        """The chain that an element of a family's map leads to; made if it is not there yet."""
        match target.kind, family:
            case "drop", _:
                return self._deny(target.klass, family)
            case "never-drop", 6:
                return self._never_drop()
            case "special", 6:
                return self._accepted
            case ("never-drop" | "special") as kind, _:
                # One element speaks for the address on the wire and for the same address inside IPv6.
                wire = self._never_drop() if kind == "never-drop" else self._accepted
                inside = self._accepted if target.klass == NO_CLASS else self._deny(target.klass, 6)
                either = (Rule((*selectors.family(4), goto(wire))), Rule((goto(inside),)))
                return self._put(names.either(kind, self._label(target.klass)), either)
            case "embedded", 6 if target.embedding:
                embedding = Embedding(target.embedding)
                rules = lookups.embedded_rules(embedding, self._shards[4])
                return self._put(lookups.EMBEDDED[embedding], (*rules, self._rest))
        raise DataError(f"damaged ruleset (an IPv{family} interval leads to {target})", "compile it again")

    def _never_drop(self) -> str:
        """The chain that counts what is never dropped."""
        return self._put("never-drop", self._leave("never_drop", self._pass))

    def _deny(self, klass: int, family: int) -> str:
        """The chain that drops what counts under a class; or counts what it would drop.

        Elements of the IPv6 map only ever see IPv6; those of the IPv4 map also IPv4 addresses inside it, which go on to
        the chain of IPv6. A chain for each spares either a rule that does not apply.
        """
        label = self._label(klass)
        ipv6 = self._put(f"{label}.ipv6", tuple(self._denials(label, 6)))
        if family == 6:
            return ipv6
        ipv4 = (*self._denials(label, 4, selectors.family(4)), Rule((goto(ipv6),), "inside IPv6"))
        return self._put(f"{label}.ipv4", ipv4)

    def _denials(self, label: str | None, family: int, selector: Sequence[Expression] = ()) -> Iterator[Rule]:
        if self._monitor:
            yield self._leave_one("would_drop", self._pass, family, label, selector)
            return
        if self._starts:
            ahead = (*selector, *selectors.before(self._starts))
            yield self._leave_one("would_drop", self._pass, family, label, ahead, f"until {utc(self._starts)}")
        yield self._leave_one("dropped", self._refusal(), family, label, selector)

    def _refusal(self) -> Verdict:
        """What is not let through is dropped; or goes where its sender is told: TCP by a reset, the rest by ICMP."""
        if self._service.action != "reject":
            return DROP
        reset = Rule((*selectors.protocols([rung2.TCP]), RESET))
        return goto(self._put("reject", (reset, Rule((PROHIBITED,)))))

    def _leave(self, what: str, verdict: Verdict) -> tuple[Rule, ...]:
        """Count by family, then the verdict."""
        return tuple(self._leave_one(what, verdict, family, selector=selectors.family(family)) for family in FAMILIES)

    def _leave_one(  # noqa: PLR0913, PLR0917 - the parts of a rule
        self,
        what: str,
        verdict: Verdict,
        family: int,
        label: str | None = None,
        selector: Sequence[Expression] = (),
        comment: str = "",
    ) -> Rule:
        count = Count(str(names.CounterName(self._service.name, label, f"ipv{family}", what)))
        return Rule((*selector, count, verdict), comment)

    def _label(self, klass: int) -> str | None:
        return None if klass == NO_CLASS else self._meta.classes[klass]

    def _put(self, suffix: str, rules: tuple[Rule, ...]) -> str:
        name = names.service_chain(self._generation, self._service.name, suffix)
        self._chains.setdefault(name, Chain(name, "", rules))
        return name

    def _comment(self) -> str:
        effect = self._service.mode
        if self._starts:
            effect += f" from {utc(self._starts)}"
        return f"service {self._service.name}, {effect}"


def _counters(chains: Iterable[Chain]) -> tuple[str, ...]:
    """Every counter that a rule names."""
    used = {
        part.name for chain in chains for rule in chain.rules for part in rule.expressions if isinstance(part, Count)
    }
    return tuple(sorted(used))
