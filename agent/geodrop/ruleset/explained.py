# SPDX-License-Identifier: Apache-2.0
"""The text output of `explain`, from the objects of `explain --json`: verdict, deciding line, and what to change.

Every line begins with one word, the verdict or the topic; the text follows from column 8 on.
"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import groupby
from typing import TYPE_CHECKING

from geodrop.ruleset.host_told import told_here
from geodrop.ruleset.region_told import told_region
from geodrop.ruleset.verdict_text import MARGIN, deciding, dropped, reservation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geodrop.ruleset.verdict_text import Answer

MOST_TESTS = 5
"""Tests of the policy that are named for one question."""


def told(answers: Iterable[Answer], *, several: bool, verbose: bool = False, then: bool = False) -> Iterator[str]:
    """Yield the lines for answers, in their order.

    `several`: print each question above its answers. `verbose`: add zone, rung, database record and kernel details.
    `then`: the answers are for another time than now; the kernel can only tell about now.
    """
    for asked, group in groupby(answers, key=lambda one: one["asked"]):
        found = list(group)
        if several:
            yield asked
        if "subject" in found[0]:
            yield from told_region(asked, found)
        else:
            yield from _about(asked, found, verbose=verbose)
        yield from told_here(found)
        yield from _tests(found)
        yield from _kernel([one for one in found if "kernel" in one], then=then)


def _about(asked: str, found: Sequence[Answer], *, verbose: bool) -> Iterator[str]:
    total = sum(one["addresses"] or 0 for one in found if one["service"] == found[0]["service"])
    whole = len({one["address"] for one in found}) == 1
    said: dict[tuple[str, str], list[Answer]] = {}
    yield from _exemptions(found)
    for one in found:
        verdict = "DROP" if dropped(one) else "ACCEPT"
        # If a prefix is judged in several ways, no single line of the policy would change all of it.
        change = _change(one, _who(asked, one)) if whole else ""
        text = _reason(one, alone=whole) + (change and f"; {change}")
        said.setdefault((verdict, text), []).append(one)
    for (verdict, text), same in said.items():
        yield f"{verdict:<{MARGIN}}{text}{'' if whole else _where(same, total)}"
        if verbose:
            for one in same:
                yield from _how(one)
    if whole:
        yield from _correction(asked, found)


def _who(asked: str, one: Answer) -> str:
    """Return what to write into the policy for the address or prefix asked about."""
    return str(ip_network(asked, strict=False)) if "/" in asked else one["embedded"] or one["address"]


def _correction(asked: str, found: Sequence[Answer]) -> Iterator[str]:
    """Yield what to write if the region is what is wrong, where an address is denied for its region."""
    for one in found:
        region = one["region"]
        if region and one["would_drop"] and one["rung"] not in {"never-drop", "prefix", "list", "special"}:
            wrong = "its country is known" if region == "unknown" else f"it is not in {region}"
            text = f"if {wrong}: corrections: {{{_bare(_who(asked, one))}: DE}}, with its country for DE"
            yield f"{'region':<{MARGIN}}{text}"
            return


def _exemptions(found: Sequence[Answer]) -> Iterator[str]:
    """Yield a line for each exemption that lets an address pass; what the policy says follows."""
    said: dict[str, list[Answer]] = {}
    for one in found:
        if exempted := one["exempted"]:
            who = f" by {exempted['user']}" if exempted["user"] else ""
            why = f" ({exempted['why']})" if exempted["why"] else ""
            said.setdefault(f"exempted until {exempted['until']}{who}{why}", []).append(one)
    for text, same in said.items():
        services = ", ".join(dict.fromkeys(one["service"] for one in same))
        otherwise = "DROP" if any(map(dropped, same)) else "ACCEPT"
        yield f"{'ACCEPT':<{MARGIN}}{services}: {text}; else {otherwise}"


def _where(same: Sequence[Answer], total: int) -> str:
    """Name an address of the prefix that is judged in this way, and how many there are."""
    count = sum(one["addresses"] or 0 for one in same)
    share = f" ({count:,} of {total:,} addresses)" if count else ""
    return f"; such as {same[0]['address']}{share}"


def _reason(one: Answer, *, alone: bool) -> str:
    """Return which line decides about whom. `alone`: the answer is about one address only."""
    if one["rung"] in {"never-drop", "special"}:
        return deciding(one)
    address = (one["embedded"] or one["address"]) if alone else "an address"
    inside = f"{address} inside {one['address'] if alone else 'it'}, " if one["embedded"] else ""
    region = one["region"]
    who = f"{inside}{region}" if region else inside.removesuffix(", ") or address
    return f"{who}{_drawn(one)}{_corrected(one)}: {deciding(one)}{reservation(one)}"


def _drawn(one: Answer) -> str:
    """Return why the address is in the list that decides; "" unless the list is drawn from databases.

    Of a prefix nothing is said: its addresses may be in the list for different reasons.
    """
    if not one["drawn"] or one["about"] != "address":
        return ""
    through = "" if one["line"] == one["counted_as"] else f"{one['counted_as']}: "
    said = dict.fromkeys(f"{reason['what']} in {reason['database']}" for reason in one["drawn"])
    return f" ({through}{', '.join(said)})"


def _out_of(one: Answer) -> str:
    """Return what to take out of the list that decides; "" where a trait put the address into it."""
    numbers = dict.fromkeys(reason["what"] for reason in one["drawn"] if reason["what"].startswith("AS"))
    alone = numbers and len(numbers) == len(one["drawn"]) and one["about"] == "address"
    return f"{one['counted_as']} without {', '.join(numbers)}" if alone else ""


def _corrected(one: Answer) -> str:
    """Return that a correction of the policy gives the address its country; "" if the databases do."""
    correction = one["correction"]
    if not correction or one["rung"] in {"prefix", "list"}:
        return ""
    return f" by corrections ({correction['place']}; the databases say {', '.join(correction['was'])})"


def _change(one: Answer, who: str) -> str:
    """Return what to write in the policy for the other verdict; "" if no line would change it."""
    other, mine, aim = ("allow", "deny", "let it in") if one["would_drop"] else ("deny", "allow", "drop it")
    line, rung, region = one["line"], one["rung"], one["region"]
    only = f"{other}: [{_bare(who)}]"
    match rung:
        case "never-drop" | "special":
            return ""
        case "default" if region and not region.startswith(("unknown", "continent:")):
            what = f"{other}: [{region}], or only [{_bare(who)}]"
        case "default" | "unknown":
            what = only
        case "list":
            what = f"{_out_of(one) or f'{mine} without {line}'}, or {only}"
        case _ if line.startswith("list:"):
            what = f"take it out of {line}"
        case "prefix" if _same(line, who):
            what = f"{mine} without {line}"
        case _:
            what = f"{mine} without {line}, or {only}"
    return f"to {aim}: {what}"


def _bare(who: str) -> str:
    """Quote IPv6, as YAML needs it inside brackets."""
    return f'"{who}"' if ":" in who else who


def _same(line: str, who: str) -> bool:
    try:
        return ip_network(line, strict=False) == ip_network(who, strict=False)
    except ValueError:
        return False


def _tests(found: Sequence[Answer]) -> Iterator[str]:
    """Yield the tests of the policy that are about the question, with their places."""
    said = dict.fromkeys(
        f"expect {test['expect']}: {test['prefix']}{' ' + test['region'] if test['region'] else ''} "
        f"({test['place']}, of {one['service']})"
        for one in found
        for test in one.get("tests", ())
    )
    yield from (f"{'test':<{MARGIN}}{text}" for text in list(said)[:MOST_TESTS])
    if len(said) > MOST_TESTS:
        yield f"{'test':<{MARGIN}}and {len(said) - MOST_TESTS:,} more under expect"


def _kernel(found: Sequence[Answer], *, then: bool) -> Iterator[str]:
    """Yield whether the kernel's own tables agree."""
    wrong = []
    for one in found:
        said = one["kernel"]
        # Of many sources only a share is dropped, and the one that was looked up may be outside it.
        some = one["share"] is not None and one["bucket"] is None
        agrees = said["would_drop"] == one["would_drop"] and (then or some or said["verdict"] == one["verdict"])
        if not agrees:
            wrong.append(f"differs for {one['service']}: {said['verdict']} ({one['address']}, {said['where']})")
    if wrong:
        yield from (f"{'kernel':<{MARGIN}}{text}" for text in wrong)
        yield f"{'next':<{MARGIN}}{_repair(found[0])}"
    elif found:
        yield f"{'kernel':<{MARGIN}}agrees (generation {found[0]['kernel']['generation']})"


def _repair(one: Answer) -> str:
    """Return what to do where the kernel differs from its ruleset."""
    if one.get("daemon", True):
        return (
            "geodrop reload repairs it now, the daemon by itself within an hour; geodrop verify --full shows all of it"
        )
    digest = one["kernel"]["digest"][:12]
    return (
        f"no daemon repairs it: geodrop load with the file of ruleset {digest}, which is kept under `rulesets` in the "
        "state directory; geodrop verify --full shows all of it"
    )


def _how(one: Answer) -> Iterator[str]:
    """Yield the details of an answer: zone, rung, database record, and the kernel's map and element."""
    margin = " " * MARGIN
    yield f"{margin}{one['service']}: rung {one['rung']}, zone {one['zone']}, mode {one['mode']}"
    if record := one.get("record"):
        yield f"{margin}database record: {record}"
    if said := one.get("kernel"):
        target = f" -> {said['target']}" if said["target"] else ""
        yield f"{margin}kernel: {said['verdict']} ({said['where']}{target})"
