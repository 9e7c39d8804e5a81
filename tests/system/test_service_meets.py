# SPDX-License-Identifier: Apache-2.0
"""The table of docs/runbook.md, "What a change meets": each cell on real systemd, with packets.

The table is read from the page, and its words are what is checked: a row, a column or a cell that no function here is
for fails.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.edge import AGENT, ALLOWED, DENIED, SOURCES, SWITCHED
from tests.system.machine import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

OLD = """
version: 1
services:
  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: [CN]}
limits: {blast_radius: 20%}
"""
NEW = OLD.replace("[CN]", "[CN, JP]")
HELD = NEW.replace("20%", "1%")
ANOTHER = OLD.replace("[CN]", "[CN, JP, FR]")

LOOKS = 7.0
"""Seconds in which `watch: true` looks at its files at least twice."""


@dataclass
class Given:
    """What was in force before the action: the objects of `status` of the old policy and of the moment before."""

    host: Edge
    old: dict[str, Any]
    before: dict[str, Any]
    deadline: int
    act: Callable[[Edge], int | None]
    code: int | None = None


def changed(host: Edge) -> None:
    """Edit the policy."""
    host.policy(NEW)


def held(host: Edge) -> None:
    """Edit it by more than its own limit."""
    host.policy(HELD)


def window(host: Edge) -> None:
    """Load an edited policy that has to be confirmed."""
    host.policy(NEW)
    host.machine.run("geodrop", "reload", "--confirm-within", "1h", "--why", "CHG-1")


def paused(host: Edge) -> None:
    """Pause, then edit the policy."""
    host.machine.run("geodrop", "pause", "--for", "1h", "--why", "INC-1")
    host.policy(NEW)


def rolled_back(host: Edge) -> None:
    """Load an edited policy and go back; the file stays as it is."""
    host.policy(NEW)
    host.machine.run("geodrop", "reload")
    host.machine.run("geodrop", "rollback")


SITUATIONS = {
    "a changed policy": changed,
    "a held one": held,
    "an open window": window,
    "a pause": paused,
    "a rollback": rolled_back,
}


def by_systemctl(host: Edge) -> int | None:
    """Reload as a service; return the exit code of the unit's command."""
    failed = host.systemctl("reload", "geodrop").returncode != 0
    said = host.show("geodrop.service", "ExecReload")
    code = int(said.rpartition("status=")[2].partition("/")[0].strip(" }"))
    assert failed == (code != 0)
    assert host.show("geodrop.service", "ActiveState") == "active"
    return code


def by_hand(host: Edge) -> int | None:
    """Reload by hand."""
    return host.geodrop("reload").returncode


def restart(host: Edge) -> int | None:
    """Restart the daemon, until it is ready."""
    host.machine.run("systemctl", "restart", "geodrop")
    return None


def reboot(host: Edge) -> int | None:
    """Shut down and boot."""
    host.power_off()
    host.power_on()
    return None


def watch(host: Edge) -> int | None:
    """Wait until the daemon has noticed what has changed, or has had the time to."""
    began, before = time.monotonic(), host.status()["last_reload"]
    host.wait_for("a look", lambda: time.monotonic() > began + LOOKS or host.status()["last_reload"] != before)
    return None


ACTIONS: dict[str, Callable[[Edge], int | None]] = {
    "`systemctl reload geodrop`": by_systemctl,
    "`geodrop reload`": by_hand,
    "a restart of the daemon": restart,
    "a reboot": reboot,
    "`watch: true`": watch,
}


def old_is_in_force(given: Given) -> dict[str, Any]:
    """Check that the old policy judges, and return `status`."""
    given.host.assert_now(DENIED, ALLOWED + SWITCHED)
    found = given.host.status()
    assert found["digest"] == given.old["digest"]
    return found


def new_is_in_force(given: Given) -> dict[str, Any]:
    """Check that the new policy judges, for good and without a problem, and return `status`."""
    given.host.wait_for("the new policy", lambda: given.host.status()["digest"] != given.old["digest"])
    given.host.assert_now(DENIED + SWITCHED, ALLOWED)
    found = given.host.status()
    assert (found["state"], found["problems"], found["confirm"]) == ("enforcing", [], None)
    return found


def loads_it(given: Given) -> None:
    """The new policy is in force."""
    assert given.code in {0, None}
    assert not new_is_in_force(given)["rolled_back"]


def boots_then_loads_it(given: Given) -> None:
    """The boot loads what was in force, and the daemon the new policy."""
    booted(given)
    loads_it(given)


def booted(given: Given) -> None:
    """Check that this boot has loaded the old policy."""
    said = given.host.machine.run("journalctl", "-b", "-u", "geodrop-boot")
    assert f"ruleset {given.old['digest'][:12]} in force" in said


def stays_held(given: Given) -> None:
    """The old policy stays, and `status` has the command that accepts the new one."""
    given.host.wait_for("the limit", lambda: given.host.status()["held"])
    found = old_is_in_force(given)
    assert found["state"] == "enforcing, but degraded"
    assert f"geodrop reload --accept {found['held'][0]['accept']}" in found["problems"][0]
    assert given.host.metrics()["geodrop_held"] == len(found["held"])


def refuses_it(given: Given) -> None:
    """Exit code 5, and the same."""
    assert given.code == 5
    stays_held(given)
    assert given.host.status()["generation"] == given.before["generation"]


def the_old_one_stays(given: Given) -> None:
    """After a held change."""
    stays_held(given)


def deadline_again(given: Given) -> None:
    """The deadline is later; another policy is refused, and both generations stay."""
    assert given.code == 0
    later = given.host.deadline()
    assert later > given.deadline
    given.host.policy(ANOTHER)
    assert given.act(given.host) == 75
    assert given.host.deadline() == later
    waits(given)


def waits(given: Given) -> None:
    """The load still waits, and judges."""
    given.host.assert_now(DENIED + SWITCHED, ALLOWED)
    found = given.host.status()
    assert found["confirm"]["digest"] == found["digest"] == given.before["digest"]
    assert given.host.metrics()["geodrop_confirm_deadline_timestamp_seconds"] > time.time()


def both_stay(given: Given) -> None:
    """The new policy judges, and its deadline is the same."""
    waits(given)
    assert given.host.deadline() == given.deadline
    assert given.host.geodrop("verify", "--full").returncode == 0


def boots_the_old_one(given: Given) -> None:
    """Nothing brings the new one back: neither the boot nor the daemon."""
    booted(given)
    found = old_is_in_force(given)
    assert (found["state"], found["rolled_back"], found["confirm"]) == ("enforcing, but degraded", True, None)
    assert found["undone"]["digest"] == given.before["digest"]
    assert "(CHG-1) was not confirmed and undone at" in found["problems"][0]
    told = given.host.metrics()
    assert (told["geodrop_undone_total"], told["geodrop_confirm_deadline_timestamp_seconds"]) == (1, 0)
    assert 0 < told["geodrop_undone_timestamp_seconds"] <= time.time() + 1


def waits_until_confirmed(given: Given) -> None:
    """A file that changes is not loaded in the window, and is loaded once it is confirmed."""
    given.host.policy(ANOTHER)
    watch(given.host)
    waits(given)
    given.host.machine.run("geodrop", "confirm")
    given.host.wait_for("the changed file", lambda: given.host.status()["digest"] != given.before["digest"])


def pause_stays(given: Given) -> None:
    """The new policy is loaded, and drops nothing until the pause is over."""
    assert given.code in {0, None}
    given.host.wait_for("the new policy", lambda: given.host.status()["digest"] != given.old["digest"])
    given.host.assert_now((), SOURCES)
    found = given.host.status()
    assert (found["state"], found["paused_why"], found["problems"]) == ("paused", "INC-1", [])
    given.host.machine.run("geodrop", "resume")
    new_is_in_force(given)


def boots_paused(given: Given) -> None:
    """No packet is dropped from the first on; then as after a restart."""
    booted(given)
    up = given.host.moment("test-network.service", "ActiveEnter")
    given.host.assert_in_force(up, time.monotonic(), (), SOURCES)
    pause_stays(given)


def older_stays(given: Given) -> None:
    """Nothing is loaded, whatever the policy says."""
    found = old_is_in_force(given)
    assert (found["state"], found["rolled_back"]) == ("enforcing", True)


WORDS = {
    "loads it": loads_it,
    "boots the old one, then loads it": boots_then_loads_it,
    "refuses it (5)": refuses_it,
    "the old one stays": the_old_one_stays,
    "sets the deadline again; refuses another policy (75)": deadline_again,
    "both stay, and the deadline": both_stay,
    "boots the old one, which stays": boots_the_old_one,
    "waits until it is confirmed": waits_until_confirmed,
    "loads it, and the pause stays": pause_stays,
    "boots the old one paused, then loads it, and the pause stays": boots_paused,
    "loads it, and the rollback is over": loads_it,
    "the older one stays": older_stays,
}
"""What a cell says, and what it means."""


def table() -> dict[tuple[str, str], str]:
    """Return the cells of the page, by row and column."""
    page = (REPOSITORY / "docs/runbook.md").read_text(encoding="utf-8")
    lines = page.partition("## What a change meets\n")[2].partition("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    [_, *columns], _, *rest = rows
    return {(row, column): text for row, *cells in rest for column, text in zip(columns, cells, strict=True)}


TABLE = table()
SHORT = {
    ("`systemctl reload geodrop`", "a held one"),
    ("`geodrop reload`", "an open window"),
    ("`geodrop reload`", "a pause"),
    ("a restart of the daemon", "a rollback"),
    ("a reboot", "an open window"),
    ("`watch: true`", "a changed policy"),
}
"""Cells of each row and each column: `make test` has these, and `make test-system` all."""
CELLS = [cell for cell in TABLE if os.environ.get("GEODROP_TEST_LONG") or cell in SHORT]


def test_the_page_and_the_tests_are_one() -> None:
    """Each row and column has a function that brings it about, each cell one that checks it, and none is left over."""
    assert {row for row, _ in TABLE} == set(ACTIONS) == {row for row, _ in SHORT}
    assert {column for _, column in TABLE} == set(SITUATIONS) == {column for _, column in SHORT}
    assert set(TABLE.values()) == set(WORDS)
    assert len(TABLE) == len(ACTIONS) * len(SITUATIONS)


@pytest.fixture
def fresh(off: Edge) -> Iterator[Edge]:
    """Yield the host with the old policy in force, for good, and nothing else decided."""
    if not off.machine.is_on():
        off.policy(OLD)
        off.power_on()
    yield off
    if off.status()["confirm"]:
        off.machine.run("geodrop", "rollback")
    off.machine.run("geodrop", "resume")


@pytest.mark.parametrize("cell", CELLS, ids=" x ".join)
def test_a_cell(fresh: Edge, cell: tuple[str, str]) -> None:
    """It is as the page says."""
    row, column = cell
    fresh.agent(AGENT + ("watch: true\n" if row == "`watch: true`" else ""))
    fresh.policy(OLD)
    fresh.machine.run("geodrop", "reload")
    old = fresh.status()
    assert (old["state"], old["problems"]) == ("enforcing", [])
    SITUATIONS[column](fresh)
    given = Given(fresh, old, fresh.status(), fresh.deadline(), ACTIONS[row])
    given.code = ACTIONS[row](fresh)
    WORDS[TABLE[cell]](given)
