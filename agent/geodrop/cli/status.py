"""`geodrop status`: what is in force, and whether it is healthy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from geodrop import messages
from geodrop.control.client import ask
from geodrop.report.state import State, exit_code
from geodrop.text import shown

if TYPE_CHECKING:
    import argparse

_COLOURS = {State.ENFORCING: messages.GREEN, State.MONITORING: messages.GREEN, State.NOT_ENFORCING: messages.RED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `status`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Exit code 0: as the policy asks; 1: degraded or paused; 3: a denied packet passes that should not."""
    answer = ask("status")
    status = answer["data"] if answer else _without_daemon(args.config)
    if args.json:
        print(json.dumps(status))
    else:
        messages.say(describe(status))
    return exit_code(State(status["state"]), healthy=status["healthy"])


def _without_daemon(config_path: str | None) -> dict[str, Any]:
    # Imported here, since all of it is in the daemon already if one runs; so in the other verbs.
    from geodrop.config import load_config_or_assume  # noqa: PLC0415
    from geodrop.report.status import read_status  # noqa: PLC0415

    config, doubt = load_config_or_assume(config_path)
    return read_status(config, doubt=doubt)


def describe(status: dict[str, Any]) -> str:
    """The same for a person."""
    status = shown(status)
    state = State(status["state"])
    colour = _COLOURS.get(state, messages.YELLOW)
    if state is State.NOT_ENFORCING:
        return "\n".join([messages.paint(f"{state}: {_why_not(status)}", colour), *_notes(status)])
    lines = [messages.paint(state, colour), *_notes(status)]
    lines.append(f"  generation  {status['generation']}, ruleset {status['digest'][:12]}")
    attached = {interface["name"] for interface in status["interfaces"] if interface["engine"] == "xdp"}
    for interface in status["interfaces"]:
        if interface["engine"] != "xdp" and interface["name"] in attached:
            continue  # nftables only waits there for another interface of that name
        attach = f", {interface['attach']}" if interface["attach"] else ""
        why = f": {interface['why']}" if "why" in interface else ""
        lines.append(f"  interface   {interface['name']} ({interface['engine']}{attach}){why}")
    for service in status["services"]:
        starts = f", starts {service['starts']}" if service["starts"] else ""
        lines.append(f"  service     {service['name']}: {service['effective']}{starts}")
        if count := service["counted_as_other"]:
            lines.append(f"              {count:,} regions count as `other` on nftables; xdp counts all")
    if last := status["last_reload"]:
        lines.append(f"  reload      {last['time']}: {last['text']}")
    if status["repairs"]:
        last = status["repairs"][0]
        lines.append(
            f"  repaired    {status['repaired']} times, last {last['time']}: {last['what']}; by {last['culprit']}"
        )
    lines.append(f"  daemon      {'running' if status['daemon'] else 'not running; the kernel judges without it'}")
    return "\n".join(lines)


def _why_not(status: dict[str, Any]) -> str:
    if status["unloaded"]:
        return "unloaded on request"
    if status["generation"]:
        number, names = status["generation"], [interface["name"] for interface in status["interfaces"]]
        if not status["judged"]:
            waiting = f" ({', '.join(dict.fromkeys(names))})" if names else ""
            return f"generation {number} judges no interface that is there{waiting}"
        return f"generation {number} is in force, and a denied source passes"
    if status["last_good"]:
        return f"ruleset {status['last_good'][:12]} was in force and is gone from the kernel"
    return "nothing has been loaded"


def _notes(status: dict[str, Any]) -> list[str]:
    """What is out of the ordinary."""
    lines = [f"  problem     {problem}" for problem in status["problems"]]
    if status["paused"]:
        why = f": {status['paused_why']}" if status["paused_why"] else ""
        lines.append(f"  paused      until {status['paused_until'] or 'resume'}{why}; nothing is dropped")
    if status["rolled_back"]:
        lines.append("  rolled back until the next reload")
    if failure := status["last_failure"]:
        lines.append(f"  failed      {failure['origin']} of {failure['time']}: {failure['error']}")
    return lines
