# SPDX-License-Identifier: Apache-2.0
"""`load --confirm-within`, `confirm` and `rollback` without a daemon: what they say, and their exit codes."""

import re

import pytest

from tests.kernel.cli.conftest import Host

LOAD = ("load", "--interface", "lo")


def test_loaded_on_trial_and_confirmed(host: Host) -> None:
    """The load says until when and how to keep it; status is healthy and says so too; another load is refused."""
    host.geodrop.good(*LOAD, host.cn)
    said = host.geodrop.good(*LOAD, host.ru, "--confirm-within", "5m", "--why", "CHG-88").out.splitlines()
    assert re.fullmatch(
        r"not confirmed: the kernel goes back to 1 at \S+Z, in (5 min|4 min \d+ s), even if nobody is left", said[1]
    )
    digest = said[2].split()[3]
    assert said[2] == f"  keep: geodrop confirm {digest}    undo now: geodrop rollback"
    status = host.geodrop.good("status", "--json").json
    confirm = status["confirm"]
    assert (confirm["digest"], confirm["generation"], confirm["previous"]) == (status["digest"], 2, 1)
    assert f"back to 1 at {confirm['deadline']}" in host.geodrop.good("status").out
    other = host.geodrop.run(*LOAD, host.cn)
    assert (other.code, "waits to be confirmed until" in other.err) == (75, True)
    assert host.geodrop.run("confirm", "0" * 12).code == 75
    assert host.geodrop.good("confirm", digest).out == "confirmed: generation 2 stays\n"
    assert host.geodrop.run("confirm", "0" * 12).code == 1
    origins = [(one["origin"], one["why"]) for one in host.geodrop.good("history", "--json").json_lines]
    assert ("load", "CHG-88") in origins


def test_undone_at_once(host: Host) -> None:
    """A rollback does not wait for the deadline, and is no failure that status complains of."""
    host.geodrop.good(*LOAD, host.cn)
    host.geodrop.good(*LOAD, host.ru, "--confirm-within", "24h")
    assert host.geodrop.good("rollback").out.startswith("generation 2 -> 1: back to ruleset ")
    status = host.geodrop.good("status", "--json").json
    assert (status["generation"], status["rolled_back"], status["confirm"], status["undone"]) == (1, True, None, None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("load", "x.ruleset", "--confirm-within", "9s"),
        ("load", "x.ruleset", "--confirm-within", "25h"),
        ("load", "x.ruleset", "--confirm-within", "soon"),
        ("load", "--boot", "--confirm-within", "1m"),
        ("reload", "--confirm-within", "0s"),
        ("confirm", "abc"),
        ("confirm", "A" * 12),
    ],
    ids=" ".join,
)
def test_usage(host: Host, arguments: tuple[str, ...]) -> None:
    """Times outside 10 s to 24 h, and digests of less than 12 digits, are usage errors; nothing is loaded."""
    assert host.geodrop.run(*arguments).code == 2
    assert "geodrop" not in host.netns.run("nft", "list", "ruleset")
