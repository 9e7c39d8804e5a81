# SPDX-License-Identifier: Apache-2.0
"""What a rollout makes of the output of geodrop: one line for a plan, and the reasons that fail a gate.

Runs on the controller, in Ansible's own process, and needs nothing of it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Object = Mapping[str, Any]

FEW = 20
"""Packets in the minute before: with fewer, a share of them says nothing about the change."""
NAMED = 6
"""Most regions, lists and prefixes that the line of a plan names for each verdict."""


def looked(lines: Sequence[str]) -> dict[str, Any]:
    """Return what roles/geodrop/files/look.sh has printed, with `status` and `accepted`: packets by service."""
    host = json.loads(lines[0])
    accepted: dict[str, int] = defaultdict(int)
    for line in lines[2:]:
        count = json.loads(line)
        if "accepted" in count:
            accepted[count["service"]] += count["accepted"]["packets"]
    return {**host, "status": json.loads(lines[1]) or {}, "accepted": dict(accepted)}


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file of the controller. Raises ValueError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        make = "sign it: geodrop compile --sign KEY (geodrop_sign)" if path.endswith(".sig") else "geodrop compile"
        raise ValueError(f"{path}: {error.strerror}; next: {make}, or name another") from error


def said(done: Object) -> str:
    """Return what a command of geodrop with --json said as it failed: the error, and the next step.

    `done` is the result of any task that failed, such as ansible.builtin.command.
    """
    if "timedout" in done:
        return f"hangs: no end within {done['timedout']['period']} s (geodrop_timeout)"
    for line in reversed(done.get("stdout_lines", [])):
        if line.startswith('{"') and "error" in (failure := json.loads(line)):
            return "; next: ".join(filter(None, (failure["error"], failure.get("next_step"))))
    return str(done.get("stderr") or done.get("msg") or f"exit {done.get('rc')}").strip()


def plan_line(plan: Object) -> str:
    """Return the object of `geodrop plan --json` as one line for one host."""
    digest = plan["digest"][:12]
    if not plan["changes"]:
        return f"nothing would change ({digest} in force)"
    said = [text for service in plan["services"] for text in _service(service, plan["limit"])]
    said += ["the never-drop ports change"] if plan["never_drop_ports"] else []
    said += [] if said else ["nothing that is dropped changes"]
    open_, cut = plan["connections"]["open"], sum(one["count"] for one in plan["connections"]["cut"])
    said += [f"{cut:,} of {open_:,} connections cut"] if open_ is not None else []
    if plan["own"]:
        said.append("newly dropped of its own: " + ", ".join(f"{one['what']} {one['address']}" for one in plan["own"]))
    return "; ".join([*said, f"digest {digest}"])


def plan_holds(plan: Object, accept: str) -> str:
    """Return which limits hold a plan, and what accepts it; "" if none does, or if `accept` names its digest."""
    if not plan["held"] or (accept and plan["digest"].startswith(accept)):
        return ""
    texts = "; ".join(one["text"] for one in plan["held"])
    return f"held: {texts}; to accept exactly this: -e geodrop_accept={plan['digest'][:12]}"


def gate_faults(now: Object, before: Object, after_reload: Object, least: float) -> list[str]:
    """Return each reason not to keep what is in force since the reload; none if the host is well.

    `now` and `after_reload` are what `looked` returns; `before` has `exit`, the exit code of `status`, and `minute`,
    which `minute` returns. `least` is the percentage of accepted packets a second that each service must still have.
    A service that was removed is not missed.
    """
    faults = []
    if now["exit"] == 3 or now["exit"] not in {0, before["exit"]}:
        problems = "; ".join(now["status"].get("problems", [])[:2])
        faults.append(f"status: {now['status'].get('state', 'unknown')} ({problems or 'no problem is named'})")
    if now["verified"]:
        faults.append(f"verify: {now['difference'] or 'the kernel differs from the ruleset'}")
    services = {one["name"] for one in now["status"].get("services", [])}
    after = {service: rate for service, _, rate in minute(now, after_reload)}
    for service, packets, rate in before["minute"]:
        got = after.get(service, 0.0)
        if service in services and packets >= FEW and got < rate * least / 100:
            faults.append(
                f"accepted packets of {service} fell to {got / rate * 100:.0f}% of the minute before: "
                f"{got:.1f} a second, {rate:.1f} before; at least {least}% is asked for"
            )
    return faults


def minute(second: Object, first: Object) -> list[tuple[str, int, float]]:
    """Return for each service of both looks: the packets accepted between them, and how many a second."""
    seconds = max(second["time"] - first["time"], 0.001)
    return [
        (service, count - first["accepted"][service], (count - first["accepted"][service]) / seconds)
        for service, count in second["accepted"].items()
        if service in first["accepted"]
    ]


def _service(service: Object, limit: float | None) -> Iterable[str]:
    if service["state"] in {"added", "removed"}:
        yield f"{service['name']} {service['state']}"
    for verdict in ("drop", "accept"):
        moves = [one for one in service["moves"] if one["to"] == verdict]
        if moves:
            more = f" and {len(moves) - NAMED:,} more" if len(moves) > NAMED else ""
            yield f"{service['name']} {verdict} {', '.join(map(_move, moves[:NAMED]))}{more}"
    for name, (old, new) in service["settings"].items():
        yield f"{service['name']} {name} {old} -> {new}"
    if service["match"]:
        yield f"{service['name']} takes other packets"
    if service["moves"]:
        shares = service["blast_radius"]
        allowed = "no limit" if limit is None else f"limit {limit * 100:.4g}%"
        yield f"{max(shares['ipv4'], shares['ipv6']) * 100:.2g}% ({allowed})"


def _move(move: Object) -> str:
    name = move.get("region") or move.get("list") or move.get("prefix")
    return f"{name} {_scaled(move['ipv4_addresses'])} IPv4"


def _scaled(number: int) -> str:
    """Return a number of addresses as people say it: 87.3 M."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,}"


class FilterModule:
    """The filters geodrop.edge.looked, said, sha256_of, plan_line, plan_holds, minute and gate_faults."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name, as Ansible asks for them."""
        return {
            "looked": looked,
            "said": said,
            "sha256_of": sha256_of,
            "plan_line": plan_line,
            "plan_holds": plan_holds,
            "minute": minute,
            "gate_faults": gate_faults,
        }
