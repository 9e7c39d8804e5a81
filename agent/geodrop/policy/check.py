# SPDX-License-Identifier: Apache-2.0
"""Check a policy as a whole: unknown names, cycles, contradictions, services that take the same packets."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from geodrop.document.problems import clean, shown
from geodrop.policy.groups import open_groups
from geodrop.policy.model import MAX_TESTS, LineKind, Mode
from geodrop.policy.overlap import common_packets
from geodrop.policy.unintended import check_intent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodrop.document.problems import ProblemReport
    from geodrop.policy.model import Line, Policy, Service
    from geodrop.policy.origins import Origins

MAX_SERVICES = 1_000
"""Most services: every pair of them is compared."""


def check_policy(policy: Policy, origins: Origins, report: ProblemReport) -> None:
    """Report every problem that concerns more than one line. The policy may have errors already."""
    _check_names(policy, report)
    _check_cycles(policy, report)
    for service in policy.services:
        _check_contradictions(policy, service, report)
    _check_overlaps(policy, origins, report)
    _check_tests(policy, report)
    if not report.failed:
        # Only without errors: a misspelt name is an error already, and its group would also be reported as unused.
        check_intent(policy, origins, report)


def _check_names(policy: Policy, report: ProblemReport) -> None:
    kinds = ((LineKind.GROUP, policy.groups, "group"), (LineKind.LIST, policy.lists, "list"))
    for line in _all_lines(policy):
        for kind, known, word in kinds:
            if line.kind is kind and line.name not in known:
                hint = report.meant(line.name, list(known)) or f"; write it under {word}s"
                report.error(line.place, f"there is no {word} {shown(line.name)}{hint}")


def _check_cycles(policy: Policy, report: ProblemReport) -> None:
    # Depth first, without recursion: groups may nest as deep as the file is long.
    done: set[str] = set()
    for start in policy.groups:
        path: dict[str, Iterator[Line]] = {}
        name = start
        while True:
            if name not in path and name not in done:
                path[name] = iter(policy.groups[name])
            line = next((line for line in path[name] if line.kind is LineKind.GROUP), None) if name in path else None
            if line is None:
                path.pop(name, None)
                done.add(name)
                if not path:
                    break
                name = next(reversed(path))
            elif line.name in path:
                names = list(path)
                cycle = " > ".join(map(clean, [*names[names.index(line.name) :], line.name]))
                report.error(line.place, f"group {shown(line.name)} holds itself ({cycle}); remove this line")
            elif line.name in policy.groups and line.name not in done:
                name = line.name


def _check_contradictions(policy: Policy, service: Service, report: ProblemReport) -> None:
    denied: dict[tuple[LineKind, str], Line] = {}
    for line, member in open_groups(policy.groups, service.deny):
        denied.setdefault((member.kind, member.name), line)
    written = {(line.kind, line.name): line for line in service.deny}
    shared: dict[tuple[Line, Line], dict[str, None]] = {}
    for line in service.allow:
        if (line.kind, line.name) in written:
            first, second = sorted((line, written[line.kind, line.name]), key=lambda one: one.place)
            message = (
                f"{second.text} is in allow and in deny of service {shown(service.name)} (line {first.place.line})"
            )
            report.error(second.place, f"{message}; remove one of the two")
    for line, member in open_groups(policy.groups, service.allow):
        deny = denied.get((member.kind, member.name))
        if deny and (line.kind is not member.kind or deny.kind is not member.kind):
            shared.setdefault((line, deny), {})[member.text] = None
    for (line, deny), members in shared.items():
        names = list(members)
        some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        message = f"{line.text} allows {some}, which {deny.text} (line {deny.place.line}) denies"
        report.warning(
            line.place, f"{message} in service {shown(service.name)}: deny wins; remove one if that is not meant"
        )


def _check_overlaps(policy: Policy, origins: Origins, report: ProblemReport) -> None:
    if len(policy.services) > MAX_SERVICES:
        message = f"{len(policy.services):,} services, {MAX_SERVICES:,} is the most; join some of them"
        report.error(policy.services[MAX_SERVICES].place, message)
        return
    enforced = [
        service
        for service in policy.services
        if service.mode is Mode.ENFORCE and origins.services[service.name].match_readable
    ]
    for one, other in combinations(enforced, 2):
        packets = common_packets(one.match, other.match)
        if packets:
            message = (
                f"service {shown(other.name)} and service {shown(one.name)} (line {one.place.line}) both take {packets}"
            )
            report.error(other.place, f"{message}; narrow the match of one, or give one mode: monitor")


def _check_tests(policy: Policy, report: ProblemReport) -> None:
    tests = [test for service in policy.services for test in service.expect]
    if len(tests) > MAX_TESTS:
        message = f"{len(tests):,} tests under expect, {MAX_TESTS:,} is the most; test prefixes in place of addresses"
        report.error(tests[MAX_TESTS].place, message)


def _all_lines(policy: Policy) -> Iterator[Line]:
    for lines in policy.groups.values():
        yield from lines
    for service in policy.services:
        yield from service.allow
        yield from service.deny
