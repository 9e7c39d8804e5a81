# SPDX-License-Identifier: Apache-2.0
"""`geodrop status`: what is in force, and whether it is healthy."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from geodrop import messages, utc
from geodrop.cli.unconfirmed import back_to, spelled
from geodrop.control.client import ask
from geodrop.report.state import State, exit_code
from geodrop.ruleset.difference import percent
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

MARGIN = 14
"""Columns of the label of a line."""
DAY = 86_400
IPV4 = 1 << 32
UNSIGNED = {
    "before": "it was in force before signatures were demanded",
    "first_boot": "it is what `first_boot: closed` loads",
    None: "this host has never accepted it; next: geodrop reload",
}
"""Why what is in force has no signature, by the `accepted` of `status --json`."""
_COLOURS = {State.ENFORCING: messages.GREEN, State.MONITORING: messages.GREEN, State.NOT_ENFORCING: messages.RED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `status`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Return 0: as the policy asks; 1: degraded or paused; 3: a denied packet passes that should not."""
    answer = ask("status")
    status = answer["data"] if answer else _without_daemon(args.config)
    if args.json:
        print(json.dumps(status))
    else:
        messages.say(describe(status))
    return exit_code(State(status["state"]), healthy=status["healthy"])


def _without_daemon(config_path: str | None) -> dict[str, Any]:
    # Imported here because a running daemon has already imported all of it; other verbs do the same.
    from geodrop.config import load_config_or_assume  # noqa: PLC0415
    from geodrop.report.status import read_status  # noqa: PLC0415

    config, doubt = load_config_or_assume(config_path)
    return read_status(config, doubt=doubt)


def describe(status: dict[str, Any]) -> str:
    """Describe the status for a person: problems first, and each problem once."""
    status = shown(status)
    state = State(status["state"])
    word = messages.paint(state, _COLOURS.get(state, messages.YELLOW))
    notes = [messages.entry(f"  {name}", text, MARGIN, colour) for name, text, colour in _notes(status)]
    if state is State.NOT_ENFORCING:
        return "\n".join([f"{word}: {_why_not(status)}", *notes])
    since = f" since {status['since']}" if status["since"] else ""
    said = [messages.entry(f"  {name}", text, MARGIN) for name, text in _facts(status)]
    return "\n".join([f"{word}  generation {status['generation']}{since}", *notes, *said])


def _facts(status: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is in force, from what inputs, on which interfaces, and its results."""
    policy = f"{status['policy']['name']}; " if status["policy"] else ""
    yield "policy", f"{policy}digest {status['digest'][:12]}"
    if (signature := status.get("signature")) and status["generation"]:
        by = f"by {signature['principal']}, key {signature['key']}, compiled {signature['compiled']}"
        yield "signed", by if signature["key"] else f"no: {UNSIGNED[signature.get('accepted')]}"
    for database in status["databases"]:
        yield "database", f"{database['name']}{_built(database['built'])}{_identity(database)}"
    if dropped := status["dropped"]:
        seconds = "minute" if dropped["seconds"] in range(55, 66) else f"{dropped['seconds']} s"
        yield "dropped", f"{dropped['packets']:,} packets in the last {seconds}"
    attached = {interface["name"] for interface in status["interfaces"] if interface["engine"] == "xdp"}
    for interface in status["interfaces"]:
        if interface["engine"] != "xdp" and interface["name"] in attached:
            continue  # nftables only waits there for another interface of that name
        attach = f", {interface['attach']}" if interface["attach"] else ""
        why = f": {interface['why']}" if "why" in interface else ""
        yield "interface", f"{interface['name']} ({interface['engine']}{attach}){why}"
    for service in status["services"]:
        starts = f", starts {service['starts']}" if service["starts"] else ""
        yield "service", f"{service['name']}: {service['effective']}{starts}{_share(service)}"
        if count := service["counted_as_other"]:
            yield "", f"{count:,} regions count as `other` on nftables; xdp counts all"
    if (last := status["last_reload"]) and last["good"]:
        yield "reload", f"{last['time']}: {last['text']}"
    if status["repairs"]:
        last = status["repairs"][0]
        yield "repaired", f"{status['repaired']} times, last {last['time']}: {last['what']}; by {last['culprit']}"
    yield "daemon", "running" if status["daemon"] else "not running; the kernel judges without it"


def _share(service: dict[str, Any]) -> str:
    """Return which share of sources is dropped, by which clock, and the next step; "" without a ramp."""
    if not (ramp := service["ramp"]):
        return ""
    step = f"; {ramp['next']['share'] * 100:g}% from {ramp['next']['from']}" if ramp["next"] else ""
    return f", {service['share'] * 100:g}% of sources at {ramp['clock']}{step}"


def _built(epoch: int | None) -> str:
    """Return when a database was built, and how long ago that was."""
    if epoch is None:
        return ""
    days = int(time.time() - epoch) // DAY
    age = "today" if days == 0 else f"{days:,} day{'' if days == 1 else 's'} ago"
    return f", built {utc.day(epoch)}{'' if days < 0 else f' ({age})'}"


def _identity(database: dict[str, Any]) -> str:
    """Return type and digest of a database, and what it is used for, with the part of IPv4 of which it says this."""
    found = [f"{role['name']} of {percent(role['ipv4'] / IPV4)}" for role in database["roles"]]
    used = f"; {', '.join(found)} of IPv4" if found else ""
    return f"; {database['type']}, digest {database['sha256'][:12]}{used}"


def _why_not(status: dict[str, Any]) -> str:
    if status["unloaded"]:
        undone = "a load was not confirmed, and nothing was in force before it"
        return undone if status["undone"] else "unloaded on request"
    if status["generation"]:
        number, names = status["generation"], [interface["name"] for interface in status["interfaces"]]
        if not status["judged"]:
            waiting = f" ({', '.join(dict.fromkeys(names))})" if names else ""
            return f"generation {number} judges no interface that is there{waiting}"
        return f"generation {number} is in force, and a denied source passes"
    if status["last_good"]:
        return f"ruleset {status['last_good'][:12]} was in force and is gone from the kernel"
    return "nothing has been loaded"


def _notes(status: dict[str, Any]) -> Iterator[tuple[str, str, int | None]]:
    """Yield what is out of the ordinary."""
    for problem in status["problems"]:
        yield "problem", problem, messages.RED
    if change := status["change"]:
        yield "change", f"under way for {change['seconds']:.0f} s: {change['origin']}", None
    if status["paused"]:
        why = f": {status['paused_why']}" if status["paused_why"] else ""
        yield "paused", f"until {status['paused_until'] or 'resume'}{why}; nothing is dropped", messages.YELLOW
    if waits := status["confirm"]:
        back = f"back to {back_to(waits)} at {waits['deadline']} ({spelled(waits['seconds_left'])})"
        yield "not confirmed", f"{back}; keep: geodrop confirm {waits['digest'][:12]}", messages.YELLOW
    if exempt := [one for one in status["exemptions"] if one["in_force"]]:
        more = f" and {len(exempt) - 1} more" if len(exempt) > 1 else ""
        yield "exempt", f"{exempt[0]['source']} until {exempt[0]['until']}{more}; see: geodrop exempt", None
    if status["rolled_back"]:
        yield "rolled back", "until the next reload", messages.YELLOW
    # A failed last reload of the daemon is listed among the problems already.
    last, failure = status["last_reload"], status["last_failure"]
    if failure and not (last and not last["good"] and failure["origin"] == "reload"):
        yield "failed", f"{failure['origin']} of {failure['time']}: {failure['error']}", messages.YELLOW
