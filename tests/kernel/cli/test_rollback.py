# SPDX-License-Identifier: Apache-2.0
from tests.kernel.cli.conftest import Host

LOAD = ("load", "--interface", "lo")


def verdicts(host: Host) -> list[str]:
    """Return the kernel's verdicts for China and Russia."""
    answers = host.geodrop.good("explain", "--json", "1.0.0.1", "2.0.0.1").json_lines
    return [answer["kernel"]["verdict"] for answer in answers]


def test_back_and_forward_again(host: Host) -> None:
    """The earlier policy is in force as a new generation; the next load goes forward; the history records it all."""
    host.geodrop.good(*LOAD, host.cn)
    host.geodrop.good(*LOAD, host.ru)
    assert verdicts(host) == ["accept", "drop"]
    said = host.geodrop.good("rollback", "--why", "checkout broke").out
    assert said.startswith("generation 2 -> 3: back to ruleset ")
    assert " of generation 1 (" in said
    assert verdicts(host) == ["drop", "accept"]
    assert host.geodrop.good("verify", "--full").code == 0
    status = host.geodrop.good("status", "--json").json
    assert (status["generation"], status["rolled_back"], status["healthy"]) == (3, True, True)
    done = host.geodrop.run("rollback")
    assert (done.code, "knows 0 policies before" in done.err) == (65, True)
    host.geodrop.good(*LOAD, host.ru)
    assert verdicts(host) == ["accept", "drop"]
    newest = host.geodrop.good("history", "--json").json_lines
    assert [(one["origin"], one["outcome"], one["generation"]) for one in newest] == [
        ("load", "done", 4),
        ("rollback", "failed", None),
        ("rollback", "done", 3),
        ("load", "done", 2),
        ("load", "done", 1),
    ]
    assert newest[2]["why"] == "checkout broke"
    assert newest[2]["target"] == 1
    assert {one["kind"] for one in newest[0]["inputs"]} == {"policy", "database"}
    assert host.geodrop.good("history", "-n", "1").out.count("\n") == 2


def test_by_generation_and_usage(host: Host) -> None:
    """A rollback goes some steps back or to a generation; anything else is a usage error."""
    host.geodrop.good(*LOAD, host.cn)
    host.geodrop.good(*LOAD, host.ru)
    host.geodrop.good("rollback", "--generation", "1")
    assert verdicts(host) == ["drop", "accept"]
    assert host.geodrop.run("rollback", "0").code == 2
    assert host.geodrop.run("rollback", "1", "--generation", "1").code == 2
    assert host.geodrop.run("rollback", "--generation", "99").code == 65


def test_nothing_in_force(host: Host) -> None:
    """3, and the kernel is not changed."""
    assert host.geodrop.run("rollback").code == 3
    assert host.geodrop.good("history").out.count("failed: nothing is in force") == 1
