# SPDX-License-Identifier: Apache-2.0
"""The acts of the demo, in order. All it shows is measured; if a result differs from the policy, the demo fails."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import pairwise
from typing import TYPE_CHECKING

from geodrop.data import ATTRIBUTION, NAME, bundled_database
from geodrop.demo import mounts, policies, screen
from geodrop.demo.clients import INTERVAL
from geodrop.demo.network import API, INTERFACE, PORT, add_addresses, two_namespaces
from geodrop.demo.sources import choose_clients
from geodrop.demo.traffic import OUTCOMES, Period, Traffic, across
from geodrop.demo.verbs import CONFIG, DemoVerbs
from geodrop.errors import ApplyError, PrivilegeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geodrop.demo.clients import ClientRequest
    from geodrop.demo.sources import Client

FIRST, SECOND, THIRD = "policy", "edited", "mistaken"
"""The names of the policies, and of the rulesets made from them."""

WINDOW = 10
"""Seconds in which a load can be confirmed: the shortest time that geodrop takes."""
TICK = 0.1
"""Seconds: more than the kernel needs to notice that the time is over."""

MOVED_SHOWN = 3
LOOK = 3.0
"""Seconds of traffic under each policy: enough requests to show."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The verbs, clients and traffic that every act uses."""

    verbs: DemoVerbs
    clients: Sequence[Client]
    sources: Sequence[str]
    traffic: Traffic

    def show(self, *arguments: str, expected: int = 0) -> None:
        """Run a verb that ends with the expected exit code, and print both the command and its output."""
        screen.command(f"geodrop {' '.join(arguments)}", self.verbs.run(*arguments, expected=expected))


def play(folder: Path) -> None:
    """Play the whole demo, with its files in `folder`; raises ApplyError if a request's outcome is not as judged."""
    screen.said(f"geodrop demo, on a bundled database: {ATTRIBUTION}.")
    bundled_database(folder)
    (folder / f"{FIRST}.yaml").write_text(policies.example())
    (folder / f"{SECOND}.yaml").write_text(policies.edited(policies.example()))
    (folder / f"{THIRD}.yaml").write_text(policies.mistaken(policies.example()))
    (folder / CONFIG).write_text(f"state: {folder / 'state'}\ninterfaces: [{INTERFACE}]\n")
    with two_namespaces() as (api, outside):
        verbs = DemoVerbs(folder, api)
        clients = choose_clients(verbs, "--policy", f"{FIRST}.yaml", "--database", NAME)
        sources = [source for client in clients for source in client.sources.values()]
        add_addresses(outside, map(ip_address, sources))
        demo = Demo(verbs, clients, sources, Traffic(outside, sources))
        nothing_loaded = everybody(demo)
        supported = allow_list(demo)
        changed = change_under_traffic(demo, supported)
        read_back(demo, changed)
        wrong, undone = undone_by_the_kernel(demo, changed)
        periods = [nothing_loaded, supported, changed, wrong, undone, *on_xdp(demo, undone)]
        agree(demo.traffic.requests(), periods)


def everybody(demo: Demo) -> Period:
    """Act 1: without geodrop every client connects, so later differences are caused by geodrop."""
    screen.heading("1. An HTTP server and its clients; nothing is loaded yet")
    screen.said(
        f"Two network namespaces joined by a veth. In one an HTTP server, the API, on {API[4]} and {API[6]}, port "
        f"{PORT}. In the other {len(demo.sources)} clients with addresses of several countries; from now on each sends "
        f"{1 / INTERVAL:.0f} requests a second, over new connections."
    )
    now = time.monotonic()
    period = look(now, now, dict.fromkeys(demo.sources, "accept"))
    requests = period.within(demo.traffic.requests())
    served = sum(one.outcome == OUTCOMES["accept"] for one in requests)
    screen.said(f"So far {served} of {len(requests)} requests were answered.")
    return period


def allow_list(demo: Demo) -> Period:
    """Act 2: the example policy; who connects and who does not."""
    screen.heading("2. The policy of an AI company's API: supported countries, no others")
    compile_ruleset(demo, FIRST)
    period = load(demo, FIRST, "nftables")
    screen.connections(demo.clients, period, demo.traffic.requests())
    return period


def change_under_traffic(demo: Demo, before: Period) -> Period:
    """Act 3: another policy takes over in one step, while all clients continue."""
    screen.heading("3. The policy changes, under traffic")
    screen.edit(policies.edit())
    compile_ruleset(demo, SECOND)
    after = load(demo, SECOND, "nftables")
    show_switch(demo, before, after)
    return after


def show_switch(demo: Demo, before: Period, after: Period, during: str = "load") -> None:
    """Show the requests around a switch; `during` names what happened between the two periods."""
    screen.timeline(worth_showing(demo.clients, before, after), before, after, demo.traffic.requests(), during)


def worth_showing(clients: Sequence[Client], before: Period, after: Period) -> list[Client]:
    """Return clients whose verdict changes, MOVED_SHOWN at most, then one client for each verdict that stays."""
    shown: dict[tuple[str, str], list[Client]] = {}
    for client in clients:
        source = next(iter(client.sources.values()))
        shown.setdefault((before.verdicts[source], after.verdicts[source]), []).append(client)
    moved = [client for (was, is_), ones in shown.items() if was != is_ for client in ones]
    return [*moved[:MOVED_SHOWN], *(ones[0] for (was, is_), ones in shown.items() if was == is_)]


def read_back(demo: Demo, period: Period) -> None:
    """Act 4: the kernel's state and counters, and why one client cannot connect."""
    screen.heading("4. What is in force, what was dropped, and why")
    show_what_is_loaded(demo, period)


def show_what_is_loaded(demo: Demo, period: Period) -> None:
    """Show the output of the verbs that read the kernel."""
    demo.show("status")
    demo.show("counters")
    denied = next(source for source in demo.sources if period.verdicts[source] == "drop")
    demo.show("explain", denied, demo.sources[-1])


def undone_by_the_kernel(demo: Demo, before: Period) -> tuple[Period, Period]:
    """Act 5: a policy that denies everybody is undone, since nobody confirms it; no process of geodrop runs."""
    screen.heading("5. A mistake, and nobody left to take it back")
    screen.edit(policies.mistake())
    compile_ruleset(demo, THIRD)
    wrong = load(demo, THIRD, "nftables", "--confirm-within", f"{WINDOW}s")
    screen.said("Every client is locked out, and no process of geodrop runs. Nobody confirms, so the kernel goes back:")
    # The deadline counts from the switch, which was at some time during the load.
    back = wrong.began + WINDOW + TICK
    time.sleep(max(back - time.monotonic(), 0))
    undone = look(wrong.loading + WINDOW, back, dict(before.verdicts))
    show_switch(demo, wrong, undone, "undo")
    demo.show("status", expected=1)
    return wrong, undone


def on_xdp(demo: Demo, before: Period) -> list[Period]:
    """Acts 6 to 8: xdp takes over, switches policies as nftables did, and both engines are compared.

    If the host cannot run xdp, the demo says so, and nftables stays in force.
    """
    screen.heading("6. xdp takes over: the same ruleset, judged before the kernel's network stack")
    try:
        mounts.own_bpffs()
        taken = load(demo, SECOND, "xdp")
    except (UnavailableError, PrivilegeError) as failure:
        screen.said(f"Not on this host, where nftables stays in force: {failure}.")
        return []
    show_switch(demo, before, taken)
    screen.heading("7. The edit is taken back, under traffic; in force, dropped and why, on xdp")
    back = load(demo, FIRST, "xdp")
    show_switch(demo, taken, back)
    show_what_is_loaded(demo, back)
    screen.heading("8. Both engines in this run")
    screen.comparison({"nftables": before, "xdp": back}, demo.traffic.requests())
    return [taken, back]


def agree(requests: Sequence[ClientRequest], periods: Sequence[Period]) -> None:
    """Compare every request of every period with its verdict; raises ApplyError with the requests that differ."""
    # Each period lasts until the next load: clients also send requests while the demo prints in between.
    whole = [*(replace(one, ended=then.loading) for one, then in pairwise(periods)), periods[-1]]
    spans = [*whole, *(across(before, after) for before, after in pairwise(whole))]
    wrong = sorted({one for span in spans for one in span.wrong(requests)}, key=lambda one: one.began)
    if wrong:
        raise ApplyError("\n".join([f"{len(wrong)} requests went otherwise than judged:", *map(str, wrong[:10])]))
    screen.heading(f"All {len(requests)} requests went as the policies say, during the switches too.")


def compile_ruleset(demo: Demo, policy: str) -> None:
    """Compile a policy file to a ruleset file for both engines."""
    demo.show("compile", "--policy", f"{policy}.yaml", "--database", NAME, "-o", f"{policy}.ruleset")


def load(demo: Demo, policy: str, engine: str, *options: str) -> Period:
    """Load a ruleset file into the kernel, then watch the traffic for a while.

    The verdicts of the returned period are those that `explain` gives.
    """
    ruleset = f"{policy}.ruleset"
    answers = demo.verbs.explain(demo.sources, "--ruleset", ruleset)
    loading = time.monotonic()
    demo.show("load", "--engine", engine, *options, ruleset)
    return look(loading, time.monotonic(), {answer["address"]: answer["verdict"] for answer in answers})


def look(loading: float, began: float, verdicts: dict[str, str]) -> Period:
    """Let traffic flow for LOOK seconds and return the period."""
    time.sleep(LOOK)
    return Period(loading, began, time.monotonic(), verdicts)
