# SPDX-License-Identifier: Apache-2.0
"""A plan by the daemon is about exactly what a reload would load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.daemons import together

if TYPE_CHECKING:
    from tests.kernel.daemon.conftest import Host
    from tests.support.daemons import Daemon


def test_the_bytes_of_a_reload(host: Host, running: Daemon) -> None:
    """The digest of a plan is that which the next reload puts in force; planning changes nothing, not even history."""
    del running
    before, history = host.table(), host.geodrop.good("history", "--json").out
    host.deny("RU")
    plan = host.geodrop.good("plan", "--json").json
    assert (plan["changes"], plan["text"].partition(",")[0]) == (True, "api drops RU (<0.1% of IPv4)")
    assert host.table() == before
    assert host.geodrop.good("history", "--json").out == history
    loaded = host.geodrop.good("reload", "--json").json
    assert (loaded["digest"], loaded["change"]["text"]) == (plan["digest"], plan["text"])
    assert host.geodrop.good("plan", "--json").json["changes"] is False


def test_bad_input_is_told_as_a_reload_tells_it(host: Host, running: Daemon) -> None:
    """A mistake in the policy has the same code and place; nothing is remembered of it."""
    del running
    host.deny("nowhere")
    plan, reload = (host.geodrop.run(verb) for verb in ("plan", "reload"))
    assert (plan.code, plan.out, plan.err) == (78, "", reload.err)


def test_plans_and_reloads_at_once(host: Host, running: Daemon) -> None:
    """Plans and reloads get along: each gets its answer."""
    del running
    host.deny("RU")
    done = together(host.geodrop, ("plan",), ("reload",), ("plan", "--json"), ("reload",))
    assert [one.code for one in done] == [0, 0, 0, 0]
    assert host.drops("2.0.0.1")


def test_after_an_unload(host: Host, running: Daemon) -> None:
    """With nothing in force the plan is of the first generation, whatever was loaded before."""
    del running
    host.geodrop.good("unload")
    assert host.geodrop.good("plan", "--json").json["against"] is None
