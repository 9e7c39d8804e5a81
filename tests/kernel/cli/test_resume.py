# SPDX-License-Identifier: Apache-2.0
from tests.kernel.cli.conftest import Host

LOAD = ("load", "--interface", "lo")


def test_not_paused(host: Host) -> None:
    """With nothing to resume the command succeeds, and makes no generation."""
    host.geodrop.good(*LOAD, host.cn)
    assert host.geodrop.good("resume").out == "not paused; nothing to do\n"
    assert host.geodrop.good("status", "--json").json["generation"] == 1


def test_after_a_pause_that_has_lost_its_intent(host: Host) -> None:
    """A damaged intent.json is restored from the history, the pause included, with a warning."""
    host.geodrop.good(*LOAD, host.cn)
    host.geodrop.good("pause", "--why", "incident")
    (host.geodrop.folder / "state" / "intent.json").write_bytes(b"\0" * 50)
    done = host.geodrop.run("status", "--json")
    assert (done.code, done.json["paused"], done.json["paused_why"]) == (1, True, "incident")
    assert "cannot be read; the history is used" in done.json["problems"][0]
    assert len(done.json["problems"]) == 1
    assert host.geodrop.good("resume").out == "generation 2 -> 3: resumed: services drop again\n"
    assert host.geodrop.good("status").out.startswith("enforcing  generation ")
