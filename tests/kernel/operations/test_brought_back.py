# SPDX-License-Identifier: Apache-2.0
"""A saved table of ours that another program loads again is never taken for what was asked for.

Each test saves `nft list ruleset`, changes what is in force, and loads the saved file as `systemctl reload nftables`
does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from geodrop.daemon.run import take_over
from geodrop.dataplane.both import BothEngines
from geodrop.errors import ApplyError
from geodrop.operations.boot import boot
from geodrop.operations.change import by_me, finish_undo
from geodrop.operations.confirm import confirm
from geodrop.operations.load import remove_all
from geodrop.operations.pause import pause, resume
from geodrop.operations.repair import Baseline, inspect
from geodrop.operations.rollback import roll_back
from geodrop.report.status import Running, read_status
from geodrop.state.entry import ChangeRequest
from geodrop.state.intent import FOREVER
from geodrop.state.lock import exclusive
from geodrop.state.store import Store
from tests.kernel.operations.test_confirm import HOUR, Host, is_over
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.namespaces import Namespace

ASKED = ChangeRequest("repair", 0, why="nft (process 5)")


@pytest.fixture
def host(netns: Namespace, tmp_path: Path) -> Iterator[Host]:
    """Return a host with CN denied, and the lock held."""
    with exclusive():
        made = Host(netns, tmp_path)
        made.load("CN")
        yield made


def saved(host: Host) -> str:
    """Return what `nft list ruleset` says now."""
    return host.netns.run("nft", "list", "ruleset")


def restore(host: Host, text: str) -> None:
    """Load a saved file in place of all that is there."""
    host.netns.nft("flush ruleset\n" + text)


def repaired(host: Host) -> list[str]:
    """Inspect as the daemon does, and once more, which must find nothing; return what was found."""
    seen = inspect(host.config, Baseline(), ASKED)
    assert inspect(host.config, Baseline(), ASKED).differences == ()
    return [one.where for one in seen.differences]


def problems(host: Host) -> list[str]:
    """Return the problems of `status`, which is not healthy if there are any."""
    status: dict[str, Any] = read_status(host.config, Running())
    assert status["healthy"] == (not status["problems"])
    return list(status["problems"])


@pytest.fixture
def restored(host: Host) -> Host:
    """Return a host that was asked to deny RU, and denies CN again."""
    earlier = saved(host)
    host.load("RU")
    restore(host, earlier)
    assert host.drops() == {"CN"}
    return host


def test_it_is_a_problem_and_a_difference(restored: Host) -> None:
    """`status` names both rulesets, `verify` disagrees, and a repair loads what was asked for; the history tells."""
    [said] = problems(restored)
    old, new = (restored.rulesets[code].digest[:12] for code in ("CN", "RU"))
    assert said.startswith(f"in force is ruleset {old} of generation 1, asked for was ruleset {new}")
    assert not restored.verified()
    assert repaired(restored) == ["in force"]
    assert restored.drops() == {"RU"}
    assert (problems(restored), restored.verified()) == ([], True)
    entry = restored.store.history.entries()[-1]
    assert (entry.origin, entry.generation, entry.previous_generation) == ("repair", 3, 1)
    assert (old in entry.change, new in entry.change) == (True, True)


def test_a_daemon_that_starts(restored: Host) -> None:
    """It does not take over what was brought back."""
    assert take_over(restored.config)
    assert restored.drops() == {"RU"}


def test_a_boot(restored: Host) -> None:
    """It loads the last good ruleset in its place; without any it says what stays and why."""
    booted = boot(restored.config, by_me("boot"), time.time())
    assert booted.text.startswith("generation 3: ruleset ")
    assert restored.drops() == {"RU"}
    assert "in place of ruleset" in restored.store.history.entries()[-1].change
    assert "in force already" in boot(restored.config, by_me("boot"), time.time()).text


def test_a_boot_that_cannot_read_what_was_asked_for(restored: Host) -> None:
    """What was brought back is better than nothing, and the text does not claim that nothing is in force."""
    for path in restored.store.rulesets.iterdir():
        path.unlink()
    booted = boot(restored.config, by_me("boot"), time.time())
    assert "stays in force, since ruleset" in booted.text
    assert booted.warnings
    assert restored.drops() == {"CN"}


@pytest.mark.parametrize("how", ["repair", "boot", "load"])
def test_after_an_unload(host: Host, how: str) -> None:
    """It is removed again; a load replaces it."""
    earlier = saved(host)
    remove_all(host.config, by_me("unload"))
    restore(host, earlier)
    assert "asked for was nothing, as `unload` left it" in problems(host)[0]
    match how:
        case "repair":
            assert repaired(host) == ["in force"]
        case "boot":
            assert "which was loaded again since" in boot(host.config, by_me("boot"), time.time()).text
        case _:
            host.load("RU")
            assert host.drops() == {"RU"}
            return
    assert saved(host) == ""
    assert host.store.intent().unloaded
    assert host.store.history.entries()[-1].origin == "repair"


def test_after_a_pause_and_its_end(host: Host) -> None:
    """A table of before the pause does not end it, one of the pause does not last beyond it."""
    earlier = saved(host)
    pause(host.config, by_me("pause"), FOREVER)
    paused = saved(host)
    restore(host, earlier)
    assert repaired(host)
    assert read_status(host.config)["state"] == "paused"
    resume(host.config, by_me("resume"))
    restore(host, paused)
    assert repaired(host)
    assert (host.drops(), host.verified()) == ({"CN"}, True)


def test_after_a_rollback(host: Host) -> None:
    """The policy that was fled from does not come back."""
    host.load("RU")
    fled = saved(host)
    roll_back(host.config, by_me("rollback"))
    restore(host, fled)
    assert repaired(host) == ["in force"]
    assert host.drops() == {"CN"}
    assert host.store.intent().rolled_back


def test_in_a_window(host: Host) -> None:
    """Both generations of the window are loaded again, with the rest of its time."""
    earlier = saved(host)
    host.load("RU", HOUR)
    restore(host, earlier)
    assert problems(host)
    assert repaired(host)
    assert host.drops() == {"RU"}
    window = BothEngines.here().observe().window
    assert window is not None
    assert window.previous_digest == host.rulesets["CN"].digest


@pytest.mark.parametrize("how", ["confirm", "undo", "rollback"])
def test_a_window_that_has_ended(host: Host, how: str) -> None:
    """A table with a window is not a load that waits: what was decided stays."""
    host.load("RU", 1 if how == "undo" else HOUR)
    window = saved(host)
    match how:
        case "confirm":
            confirm(host.config, by_me("confirm"))
        case "undo":
            until(is_over)
            finish_undo(host.config)
        case _:
            roll_back(host.config, by_me("rollback"))
    restore(host, window)
    assert repaired(host)
    assert host.drops() == ({"RU"} if how == "confirm" else {"CN"})
    assert BothEngines.here().observe().window is None
    assert host.store.intent().confirm is None
    assert host.verified()


@pytest.mark.parametrize("known", [False, True])
def test_a_change_that_was_not_written_down_counts(host: Host, monkeypatch: pytest.MonkeyPatch, *, known: bool) -> None:
    """After a crash between switch and intent the kernel is ahead: of a new ruleset, and of one that is kept."""
    if known:
        host.load("RU")
        host.load("CN")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "note", lambda *_: None)
        host.load("RU")
    assert host.store.intent().digest == host.rulesets["CN"].digest
    assert problems(host) == []
    assert repaired(host) == []
    assert "in force already" in boot(host.config, by_me("boot"), time.time()).text
    assert take_over(host.config)
    assert host.drops() == {"RU"}
    assert host.store.intent().digest == host.rulesets["RU"].digest


def test_what_builds_on_it(restored: Host) -> None:
    """A pause pauses what was asked for, a rollback goes back from there, and a window goes back to it."""
    with pytest.raises(ApplyError, match="nothing waits to be confirmed"):
        confirm(restored.config, by_me("confirm"))
    earlier = saved(restored)
    pause(restored.config, by_me("pause"), FOREVER)
    assert BothEngines.here().observe().digest == restored.rulesets["RU"].digest
    resume(restored.config, by_me("resume"))
    restore(restored, earlier)
    restored.load("IR", HOUR)
    roll_back(restored.config, by_me("rollback"))
    assert restored.drops() == {"RU"}
    restore(restored, earlier)
    roll_back(restored.config, by_me("rollback"))
    assert restored.drops() == {"CN"}
    assert restored.verified()
