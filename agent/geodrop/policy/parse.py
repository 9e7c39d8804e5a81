# SPDX-License-Identifier: Apache-2.0
"""Parse a policy file from bytes to the checked model. The only entry point is `load_policy`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodrop.document import shape
from geodrop.document.keys import Key
from geodrop.document.problems import Position, Problem, ProblemReport, shown
from geodrop.document.shape import UnreadableError
from geodrop.document.tree import LINE_BREAK, KeyTable, read_document
from geodrop.errors import DataError, ListError, PolicyError
from geodrop.policy import values
from geodrop.policy.check import check_policy
from geodrop.policy.drawn import parse_asns, parse_traits
from geodrop.policy.guard import GUARD, Guard, Listed, check_age, check_guard, parse_guard
from geodrop.policy.lines import parse_country
from geodrop.policy.listfile import read_list_file
from geodrop.policy.model import BLAST_RADIUS, AddressList, Limits, NeverDrop, Policy, Ports
from geodrop.policy.origins import Origins
from geodrop.policy.services import KEYS as SERVICE
from geodrop.policy.services import PORTS, parse_lines, parse_ports, parse_service, placed_prefixes
from geodrop.policy.special import embedded_inside, special_inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from geodrop.document.tree import Node
    from geodrop.policy.model import Line, Network, Service

    ReadList = Callable[[str], bytes]

SOURCES = {
    "prefixes": Key("prefixes and addresses"),
    "file": Key(
        "a file in the policy's folder or below: a prefix, range or address a line, `#` for comments. A range counts "
        "as its prefixes. Links are followed, as long as they are relative and stay in the folder"
    ),
    "asn": Key(
        "numbers of networks, `[64496, AS15169]`: every address that a database of networks (ASN) gives one of them"
    ),
    "traits": Key(
        "what a database says of addresses: `vpn`, `proxy`, `tor_exit`, `hosting`, `residential_proxy`, `relay`, "
        "`anycast`, `satellite`; `{vpn: 50}` asks for a confidence of at least 50 percent"
    ),
}

LIST = {
    **SOURCES,
    "guard": Key(
        "limits that the list must keep. A file that does not is refused (65), and so are `prefixes` (78)", GUARD
    ),
}

NEVER = {
    "prefixes": Key("sources, as on the wire"),
    "ports": Key("local ports", PORTS),
}

LIMITS = {
    "blast_radius": Key(
        "the largest share of IPv4 or of IPv6 /48s in use that one change may move for a service, such as `5%` "
        "(default), or `none`; what exceeds it is held"
    ),
    "database_age": Key(
        "a duration such as `45d`: how old a database in force may be before `status` and the log say so; a change to "
        "an older one is held"
    ),
}

KEYS = {
    "version": Key("1; required"),
    "groups": Key("a list of lines, used as `group:NAME`; groups nest and may mix levels", named=True),
    "lists": Key("addresses, used as `list:NAME`; one of the following, and perhaps a guard", LIST, named=True),
    "corrections": Key(
        "a prefix and the country it is in. The longest prefix counts; the subdivision is forgotten; lists still win. "
        "Not for special addresses, nor for IPv6 that embeds IPv4: correct the IPv4 address"
    ),
    "services": Key("at least one", SERVICE, named=True),
    "never_drop": Key("accepted before any service is asked. Left out: tcp/22. `{}`: none", NEVER),
    "limits": Key("what is too much, or too old", LIMITS),
}
"""All keys of a policy."""

NEVER_DROP = NeverDrop(prefixes=(), ports=Ports(tcp=((22, 22),)))
"""The default without the key: a policy that forgets ssh locks no administrator out."""


def load_policy(
    text: bytes, file: str, read_list: ReadList, ages: Mapping[str, float] | None = None
) -> tuple[Policy, list[Problem]]:
    """Read and check a policy; return it with its warnings.

    `file` is its name as the operator gave it, for messages. `read_list` returns the content of a list file, given its
    name relative to the policy's folder, and raises OSError or DataError; once it has been called, `ages` has the
    seconds since the file was modified, by name. A file without an age is refused by a guard that limits it.

    Raises PolicyError with all errors, including those in list files; ListError if only list files have errors.
    """
    content, root, report = read_document(text, file)
    if root is None:
        if not report.failed:
            report.error(Position(file, 1, 1), "the policy is empty; write  version: 1  and at least one service")
        raise PolicyError(report.problems())
    parser = _Parser(
        file, content, report, read_list, {} if ages is None else ages, ProblemReport(file, LINE_BREAK.split(content))
    )
    policy = parser.policy(root)
    check_policy(policy, parser.origins, report)
    list_problems = [*parser.unread.problems(), *parser.list_problems]
    if report.failed:
        raise PolicyError([*sorted([*report.problems(), *parser.unread.problems()]), *parser.list_problems])
    if list_problems:
        raise ListError(list_problems)
    return policy, report.problems()


@dataclass(slots=True)
class _Parser:
    """Parses each section with one method.

    `unread` reports list files that cannot be read, `list_problems` are the problems inside list files.
    """

    file: str
    text: str
    report: ProblemReport
    read_list: ReadList
    ages: Mapping[str, float]
    unread: ProblemReport
    origins: Origins = field(default_factory=Origins)
    list_problems: list[Problem] = field(default_factory=list)

    def policy(self, root: Node) -> Policy:
        """Parse the whole policy; each part that cannot be read is reported and replaced by a harmless value."""
        given = shape.fields(self.report, root, "the policy", KEYS).nodes
        self._version(root, given)
        corrections, corrected_at = self._corrections(given)
        return Policy(
            file=self.file,
            text=self.text,
            groups=self._groups(given),
            lists=self._lists(given),
            corrections=corrections,
            services=self._services(root, given),
            never_drop=self._never_drop(given),
            limits=self._limits(given),
            corrected_at=corrected_at,
        )

    def _version(self, root: Node, given: Mapping[str, Node]) -> None:
        if "version" in given:
            shape.value(self.report, given["version"], "version", _version)
        elif isinstance(root, KeyTable):
            self.report.error(root.place, "the policy has no version; write  version: 1  at the top")

    def _named(self, node: Node, what: str) -> Iterator[tuple[str, Position, Node]]:
        """Yield the entries of a table whose keys are names.

        A bad name is reported and kept, so that lines that use it are not reported too.
        """
        found = shape.table(self.report, node, what)
        for key, value in found.entries if found else ():
            shape.value(self.report, key, f"name in {what}", values.parse_name)
            yield key.text, key.place, value

    def _groups(self, given: Mapping[str, Node]) -> dict[str, tuple[Line, ...]]:
        groups = {}
        for name, place, node in self._named(given["groups"], "groups") if "groups" in given else ():
            before = self.report.errors
            groups[name] = parse_lines(self.report, node, f"group {shown(name)}")
            self.origins.groups[name] = place
            if not groups[name] and self.report.errors == before:
                self.report.warning(place, f"group {shown(name)} is empty; a line that names it does nothing")
        return groups

    def _lists(self, given: Mapping[str, Node]) -> dict[str, AddressList]:
        entries = self._named(given["lists"], "lists") if "lists" in given else ()
        return {name: self._list(name, place, node) for name, place, node in entries}

    def _list(self, name: str, place: Position, node: Node) -> AddressList:
        what = f"list {shown(name)}"
        before = self.report.errors
        given = shape.fields(self.report, node, what, LIST).nodes
        sources = {key: value for key, value in given.items() if key in SOURCES}
        if len(sources) != 1 and self.report.errors == before:
            found = f"has {' and '.join(sources)}" if sources else "is empty"
            self.report.error(place, f"{what} {found}; write exactly one of {', '.join(SOURCES)}")
        guard = None
        if "guard" in given and sources.keys() & {"asn", "traits"}:
            message = f"{what}: a guard is for prefixes and files, and this list is drawn from databases; remove it"
            self.report.error(given["guard"].place, message)
        elif "guard" in given:
            guard = parse_guard(self.report, given["guard"], what, is_file="file" in sources)
        prefixes: tuple[Network, ...] = ()
        file = None
        if "prefixes" in sources:
            placed = placed_prefixes(self.report, sources["prefixes"], f"prefixes of {what}")
            prefixes, places = tuple(placed), tuple(placed.values())
            if not prefixes and self.report.errors == before:
                self.report.warning(place, f"{what} is empty; a line that names it does nothing")
            if guard and self.report.errors == before:
                check_guard(guard, Listed(prefixes, len(prefixes), places.__getitem__, place), self.report)
        if "file" in sources and len(sources) == 1:
            file = shape.value(self.report, sources["file"], f"file of {what}", values.parse_file)
            prefixes += self._list_file(what, file, sources["file"].place, guard) if file else ()
        asns = parse_asns(self.report, sources["asn"], what) if "asn" in sources else ()
        traits = parse_traits(self.report, sources["traits"], what) if "traits" in sources else ()
        return AddressList(name, prefixes, file, place, asns, traits)

    def _list_file(self, what: str, name: str, place: Position, guard: Guard | None) -> tuple[Network, ...]:
        try:
            data = self.read_list(name)
        except DataError as error:
            self.unread.error(place, str(error))
            return ()
        except OSError as error:
            why = error.strerror or type(error).__name__
            self.unread.error(place, f"{shown(name)}: {why}; put the file into the policy's folder")
            return ()
        path = os.path.join(os.path.dirname(self.file), name)
        prefixes, lines, report = read_list_file(data, path)
        if guard and not report.failed:
            start = Position(path, 1, 1)
            listed = Listed(prefixes, len(set(lines)), lambda at: Position(path, lines[at], 1), start)
            check_guard(guard, listed, report)
            if warning := check_age(guard, self.ages.get(name), start, report):
                self.report.warning(place, f"{what}: {shown(name)} was {warning}")
        self.list_problems += report.problems()
        if not prefixes and not report.failed:
            message = f"{what}: {shown(name)} has comments and no prefix; a line that names it does nothing"
            self.report.warning(place, f"{message}: check whether the file is the right one")
        return prefixes

    def _corrections(self, given: Mapping[str, Node]) -> tuple[dict[Network, str], dict[Network, int]]:
        """Return the country of each corrected network, and the number of its line."""
        corrections: dict[Network, str] = {}
        lines: dict[Network, int] = {}
        found = shape.table(self.report, given["corrections"], "corrections") if "corrections" in given else None
        for key, node in found.entries if found else ():
            network = shape.value(self.report, key, "correction", values.parse_prefix)
            country = shape.value(self.report, node, f"correction of {shown(key.text)}", parse_country)
            if network is None:
                continue
            if network in corrections:
                self.report.error(key.place, f"{network} is corrected twice; keep one of the two")
            elif special := special_inside(network):
                message = f"{network} is special ({special}) and of no country; correct ordinary addresses only"
                self.report.error(key.place, message)
            elif embedding := embedded_inside(network):
                message = f"{network} holds IPv4 addresses ({embedding}); correct the IPv4 address instead"
                self.report.error(key.place, message)
            elif country is not None:
                corrections[network] = country
                lines[network] = key.place.line
        return corrections, lines

    def _services(self, root: Node, given: Mapping[str, Node]) -> tuple[Service, ...]:
        services = []
        before = self.report.errors
        for name, place, node in self._named(given["services"], "services") if "services" in given else ():
            service, self.origins.services[name] = parse_service(self.report, name, place, node)
            services.append(service)
        if not services and isinstance(root, KeyTable) and self.report.errors == before:
            place = given["services"].place if "services" in given else root.place
            self.report.error(place, "the policy has no service; write at least one under  services:")
        return tuple(services)

    def _never_drop(self, given: Mapping[str, Node]) -> NeverDrop:
        if "never_drop" not in given:
            return NEVER_DROP
        self.origins.never_drop = given["never_drop"].place
        parts = shape.fields(self.report, given["never_drop"], "never_drop", NEVER)
        prefixes: dict[Network, Position] = {}
        ports = Ports()
        if "prefixes" in parts.nodes:
            prefixes = placed_prefixes(self.report, parts.nodes["prefixes"], "prefixes of never_drop")
        if "ports" in parts.nodes:
            ports = parse_ports(self.report, parts.nodes["ports"], "ports of never_drop")
        elif parts.nodes:
            message = "never_drop names no ports, so ssh can be dropped; write  ports: {tcp: [22]}  or  ports: {}"
            self.report.warning(parts.place, message)
        return NeverDrop(tuple(prefixes), ports, {network: found.line for network, found in prefixes.items()})

    def _limits(self, given: Mapping[str, Node]) -> Limits:
        if "limits" not in given:
            return Limits()
        parts = shape.fields(self.report, given["limits"], "limits", LIMITS)
        named = "blast_radius" in parts.nodes
        return Limits(
            blast_radius=parts.value("blast_radius", values.parse_limit) if named else BLAST_RADIUS,
            database_age=parts.value("database_age", values.parse_duration),
            at={name: node.place.line for name, node in parts.nodes.items()},
        )


def _version(text: str) -> str:
    if text == "1":
        return text
    raise UnreadableError(f"{shown(text)} is not a version that this geodrop reads; write 1")
