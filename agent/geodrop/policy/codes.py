# SPDX-License-Identifier: Apache-2.0
"""Warn of codes that say less than they seem to: a country without its territories, a name that reads as a code."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from geodrop.document.problems import shown
from geodrop.policy.countries import CONTINENTS, COUNTRIES, UNKNOWN_CODES, country_region
from geodrop.policy.groups import open_groups
from geodrop.policy.ladder import build_ladder
from geodrop.policy.lines import OTHER_CODES
from geodrop.policy.model import LineKind, Verdict
from geodrop.policy.territories import DEPENDENT

if TYPE_CHECKING:
    from geodrop.document.problems import ProblemReport
    from geodrop.policy.model import Policy, Service
    from geodrop.policy.origins import Origins

_SUBDIVISION = re.compile(r"([A-Z]{2})-(?:[A-Z]{2}|[A-Z0-9]{0,2}[0-9][A-Z0-9]{0,2})")
"""A code such as US-CA or UA-43; three letters, as in my-vpn, are more often a word."""

_CONTINENT = re.compile(r"CONTINENT(?:-([A-Z]{2}))?")


def check_codes(policy: Policy, origins: Origins, report: ProblemReport) -> None:
    """Warn of countries without their territories, and of names that read as codes, in a policy without errors."""
    # Lists name no region, and may be large.
    bare = replace(policy, lists={name: replace(found, prefixes=()) for name, found in policy.lists.items()})
    for service in bare.services:
        _check_territories(bare, service, report)
    named = [("group", name, origins.groups[name]) for name in policy.groups]
    named += [("list", name, found.place) for name, found in policy.lists.items()]
    for word, name, place in named:
        if code := _code(name):
            report.warning(
                place,
                f"the name of {word} {shown(name)} reads as {code}, but  {word}:{name}  is what it holds; rename it, "
                f"such as {shown(f'{name[:26]}-{word}')}",
            )


def _check_territories(policy: Policy, service: Service, report: ProblemReport) -> None:
    """Warn of each line with a country whose territories get the other verdict, though no line names them."""
    sides = [
        (verdict, [member for _, member in open_groups(policy.groups, lines)])
        for verdict, lines in ((Verdict.ACCEPT, service.allow), (Verdict.DROP, service.deny))
    ]
    members = [member for _, found in sides for member in found]
    if not any(member.kind is LineKind.COUNTRY and member.name in DEPENDENT for member in members):
        return
    ladder = build_ladder(policy, service)
    named = {member.name for member in members if member.kind in (LineKind.COUNTRY, LineKind.SUBDIVISION)}
    for verdict, found in sides:
        for member in found:
            if member.kind is not LineKind.COUNTRY or ladder.decide(country_region(member.name)).verdict is not verdict:
                continue
            missing = [
                code
                for code in DEPENDENT.get(member.name, ())
                # Some databases have a territory as a subdivision, such as US-PR.
                if not {code, f"{member.name}-{code}"} & named
                and ladder.decide(country_region(code)).verdict is not verdict
            ]
            if missing:
                here, there = ("allow", "deny") if verdict is Verdict.ACCEPT else ("deny", "allow")
                report.warning(
                    member.place,
                    f"{member.name} without {', '.join(missing)}: territories with codes of their own, which it does "
                    f"not hold; name them under {here} too, or under {there} if that is meant",
                )


def _code(name: str) -> str | None:
    """Return what the name of a group or list reads as; None if it reads as no code."""
    text = name.upper().replace("_", "-")
    if text in COUNTRIES:
        return f"the country {text}"
    if text in CONTINENTS or text in UNKNOWN_CODES or text in OTHER_CODES:
        return f"the code {text}"
    if match := _CONTINENT.fullmatch(text):
        return f"continent:{match[1]}" if match[1] else "a line continent:AS"
    match = _SUBDIVISION.fullmatch(text)
    return f"the subdivision {text}" if match and match[1] in COUNTRIES else None
