# SPDX-License-Identifier: Apache-2.0
"""A clock that is set while the daemon runs, or was wrong at its start: kernel and status follow the present clock.

Only for the emulated machine, whose clock is its own.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from geodrop import utc
from geodrop.control.client import ask
from geodrop.engine.api import TICKS
from geodrop.linux.clock import monotonic
from tests.kernel.daemon.watch.conftest import ADDRESS, ALLOWED, DENIED, watched
from tests.support.daemons import daemon
from tests.support.emulated import COUNT, PATIENCE, arrivals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.daemon.watch.conftest import Edge
    from tests.support.namespaces import End

pytestmark = pytest.mark.emulated

HOUR, DAY = 3600, 86_400


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Restore the clock afterwards."""
    began, at = time.monotonic(), time.time()
    yield
    time.clock_settime(time.CLOCK_REALTIME, at + time.monotonic() - began)


def step(seconds: float) -> None:
    """Set the clock as `date -s` does."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)


def drops(ends: tuple[End, End]) -> bool:
    """Whether a denied source is dropped and an allowed one gets in."""
    arrived = arrivals(ends, (DENIED, ALLOWED), dest=ADDRESS)
    assert arrived[ALLOWED] == COUNT
    assert arrived[DENIED] in {0, COUNT}
    return not arrived[DENIED]


def says(word: str) -> set[str]:
    """Wait until the daemon reports this state without a problem. Return the engines.

    The daemon is asked directly: a command line takes ten seconds in an emulated machine.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = ask("status")
        assert answer
        found = answer["data"]
        if found["state"] == word and not found["problems"]:
            assert found["repaired"] == 0
            return {one["engine"] for one in found["interfaces"]}
        assert time.monotonic() < deadline, f"{found}"  # pytest would shorten an object
        time.sleep(0.1)


def steps_there_and_back(ends: tuple[End, End], word: str) -> None:
    """Step over a time that is an hour ahead, and back: packets are judged accordingly at once, and status follows."""
    assert not drops(ends)
    step(2 * HOUR)
    assert drops(ends)
    says("enforcing")
    step(-2 * HOUR)
    assert not drops(ends)
    says(word)


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_steps_over_a_start(request: pytest.FixtureRequest, engine: str) -> None:
    """Set forward, the service starts; set back, it is yet to come: at once for packets, soon for status; no repair."""
    edge: Edge = request.getfixturevalue("edge" if engine == "nftables" else "xdp_edge")
    start_in(edge, HOUR)
    with watched(edge) as (_, ends):
        assert engine in says("monitoring")
        steps_there_and_back(ends, "monitoring")
        assert edge.geodrop.run("verify").code == 0


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_steps_over_the_end_of_a_pause(request: pytest.FixtureRequest, engine: str) -> None:
    """Set forward, the pause is over; set back, it lasts."""
    edge: Edge = request.getfixturevalue("edge" if engine == "nftables" else "xdp_edge")
    with watched(edge) as (_, ends):
        says("enforcing")
        edge.geodrop.good("pause", "--for", "1h")
        assert engine in says("paused")
        steps_there_and_back(ends, "paused")


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_steps_over_a_step_of_a_ramp(request: pytest.FixtureRequest, engine: str) -> None:
    """A ramp follows the wall clock: set forward its share is dropped, set back none is yet."""
    edge: Edge = request.getfixturevalue("edge" if engine == "nftables" else "xdp_edge")
    edge.host.deny("CN")
    put_in_policy(edge, f"ramp: {{{utc.moment(int(time.time() + HOUR))}: 100%}}")
    with watched(edge) as (_, ends):
        assert engine in says("monitoring")
        steps_there_and_back(ends, "monitoring")


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_steps_in_a_window(request: pytest.FixtureRequest, engine: str) -> None:
    """However the clock is set, a load that waits is in force until its deadline, and not longer."""
    edge: Edge = request.getfixturevalue("edge" if engine == "nftables" else "xdp_edge")
    with watched(edge) as (_, ends):
        assert engine in says("enforcing")
        assert drops(ends)
        edge.host.deny("RU")
        edge.geodrop.good("reload", "--confirm-within", "3m")
        intent = json.loads((edge.host.folder / "state" / "intent.json").read_text())
        deadline = intent["confirm"]["deadline"]
        for seconds in (DAY, -2 * DAY):
            step(seconds)
            assert not drops(ends)
            says("enforcing")
        assert monotonic() < deadline, "too slow to see the time before the deadline"
        time.sleep((deadline + 2 * TICKS - monotonic()) / 1e9)
        assert drops(ends)
        step(DAY)
        assert drops(ends)


@pytest.mark.parametrize("engine", ["nftables", "xdp"])
def test_steps_in_an_exemption(request: pytest.FixtureRequest, engine: str) -> None:
    """However the clock is set, an exempt client passes for the time that was asked for, and no longer."""
    edge: Edge = request.getfixturevalue("edge" if engine == "nftables" else "xdp_edge")
    with watched(edge) as (_, ends):
        assert engine in says("enforcing")
        edge.geodrop.good("exempt", DENIED, "--for", "3m")
        began = time.monotonic()
        for seconds in (DAY, -2 * DAY):
            step(seconds)
            assert not drops(ends)
            says("enforcing")
        assert time.monotonic() < began + 150, "too slow to see the time before its end"
        time.sleep(began + 185 - time.monotonic())
        assert drops(ends)


def test_a_start_with_a_clock_that_is_ahead(edge: Edge) -> None:
    """By a wrong clock the policy's start is past; once the clock is set, the right time applies."""
    start_in(edge, DAY)
    step(30 * DAY)
    with watched(edge) as (_, ends):
        says("enforcing")
        assert drops(ends)
        step(-30 * DAY)
        assert not drops(ends)
        says("monitoring")
        step(2 * DAY)
        assert drops(ends)
        says("enforcing")


def test_a_boot_with_a_clock_that_is_ahead(edge: Edge) -> None:
    """A pause that lasts by the right clock applies once the clock is set, without a daemon and with a new one."""
    with watched(edge) as (_, ends):
        edge.geodrop.good("pause", "--for", "2h")
    edge.host.netns.run("nft", "delete", "table", "inet", "geodrop")
    step(30 * DAY)
    edge.geodrop.good("load", "--boot")
    assert drops(ends)
    step(-30 * DAY)
    assert not drops(ends)
    assert edge.geodrop.run("status", "--json").json["state"] == "paused"
    assert edge.geodrop.run("verify").code == 0
    with daemon(edge.geodrop):
        says("paused")
        assert not drops(ends)


def test_a_clock_that_is_behind(edge: Edge) -> None:
    """As after a flat battery, in 1970 and some days: a service that started long ago starts once the clock is set."""
    start_in(edge, -DAY)
    now, began = time.time(), time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, 10 * DAY)
    with watched(edge) as (_, ends):
        says("monitoring")
        assert not drops(ends)
        time.clock_settime(time.CLOCK_REALTIME, now + time.monotonic() - began)
        assert drops(ends)
        says("enforcing")


def start_in(edge: Edge, seconds: float) -> None:
    """Write a policy that begins then."""
    edge.host.deny("CN")
    put_in_policy(edge, f"starts: {utc.moment(int(time.time() + seconds))}")


def put_in_policy(edge: Edge, key: str) -> None:
    """Add a key to the service."""
    path = edge.host.folder / "policy.yaml"
    path.write_text(path.read_text().replace("default: allow", f"{key}, default: allow"))
