# SPDX-License-Identifier: Apache-2.0
"""Faults around the daemon, under continuous probes: enforcement, repair and break glass go on, and no fault cuts off
an allowed client.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.daemon.watch.conftest import ALLOWED, DENIED, watched
from tests.support.cli import Geodrop
from tests.support.daemons import daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kernel.daemon.watch.conftest import Edge
    from tests.system.probes import Probes

RUSSIA = "2.0.0.9"


@pytest.fixture
def disk(edge: Edge) -> Iterator[Path]:
    """The state directory, on a file system of eight megabytes."""
    folder = edge.host.folder / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    """Fill the disk."""
    with contextlib.suppress(OSError), (disk / "fill").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def remount(disk: Path, how: str) -> None:
    """Remount read-only, as ext4 does by itself after an error."""
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


SPOILED: dict[str, tuple[Callable[[Path], object], Callable[[Path], object], str]] = {
    "full": (fill, lambda disk: (disk / "fill").unlink(), "No space left on device"),
    "read-only": (lambda disk: remount(disk, "ro"), lambda disk: remount(disk, "rw"), "Read-only file system"),
}
"""How the disk is broken, how it is restored, and the system's error meanwhile."""


def until(edge: Edge, true: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - an object of JSON
    """Return the first status that meets a condition. Waits longer than any pause between two tries of the daemon."""
    began = time.monotonic()
    while not true(status := edge.status()):
        assert time.monotonic() - began < 120, f"{status}"  # pytest would shorten an object
        time.sleep(0.1)
    return status


def judged(probes: Probes, source: str) -> bool:
    """Whether probes of a source are dropped from now on: none of some that are sent now gets through."""
    since = time.monotonic()
    time.sleep(0.1)
    outcome = probes.outcome(source, since, time.monotonic())
    assert outcome.passed in (0, outcome.sent), outcome
    return outcome.passed == 0


@pytest.mark.parametrize("how", SPOILED)
def test_a_disk_that_takes_nothing(edge: Edge, disk: Path, how: str) -> None:
    """Break glass, its end, a rollback and repairs work; a new policy is refused.

    What was asked for stays known meanwhile, also through a restart of the daemon. It is reported as a problem, and
    written once that is possible.
    """
    spoil, mend, said = SPOILED[how]
    geodrop, host = edge.geodrop, edge.host
    with watched(edge) as (running, ends), edge.probing(ends) as probes:
        host.deny("CN", "RU")
        geodrop.good("reload")
        began = time.monotonic()
        spoil(disk)
        for verb, china, russia in (("pause", False, False), ("resume", True, True), ("rollback", True, False)):
            geodrop.good(verb)
            assert (judged(probes, DENIED), edge.host.drops(RUSSIA) and verb != "pause") == (china, russia), verb
        geodrop.good("unload")
        assert not judged(probes, DENIED)
        # A kept ruleset can be loaded whatever state the disk is in.
        geodrop.good("reload")
        assert judged(probes, DENIED)
        fill(disk)  # what the history has released of its reserve by now
        host.deny("CN", "RU", "US")
        refused = geodrop.run("reload")
        assert (refused.code, said in refused.err) == (1, True), refused.err
        host.deny("CN", "RU")
        assert judged(probes, DENIED)
        repaired = edge.status()["repaired"]
        host.netns.run("nft", "flush", "ruleset")
        until(edge, lambda status: status["repaired"] > repaired and status["enforcing"])
        assert judged(probes, DENIED)
        fill(disk)
        paused = geodrop.good("pause")
        assert not judged(probes, DENIED)
        running.end()
        with daemon(geodrop):
            status = until(edge, lambda status: status["daemon"])
            assert status["paused"], status
            if how == "read-only":
                assert f"not written down: {disk}" in paused.err
                assert any(said in problem for problem in status["problems"])
            assert not judged(probes, DENIED)
            mend(disk)
            until(edge, lambda status: not any("not written down" in problem for problem in status["problems"]))
            origins = [entry["origin"] for entry in geodrop.good("history", "--json").json_lines]
            assert origins.count("pause") == 2
            geodrop.good("resume")
            assert judged(probes, DENIED)
        allowed = probes.outcome(ALLOWED, began)
        assert allowed.passed == allowed.sent
    assert geodrop.run("status", "--json").json["paused"] is False
    assert os.path.getsize(disk / "reserve") == 1 << 20


@pytest.mark.parametrize("verb", ["unload", "pause"])
def test_what_was_asked_for_cannot_be_read(edge: Edge, verb: str) -> None:
    """A new daemon neither restores nor removes what is in force, says so, and then does what a person asks for."""
    geodrop = edge.geodrop
    with watched(edge) as (running, ends), edge.probing(ends) as probes:
        geodrop.good(verb)
        running.end()
        for name in ("intent.json", "history.jsonl"):
            (edge.host.folder / "state" / name).write_bytes(b"\0\0\n")
        with daemon(geodrop) as second:
            status = edge.status()
            assert status["healthy"] is False
            assert any("may say unloaded or paused" in problem for problem in status["problems"]), status
            assert not judged(probes, DENIED)
            assert "left as it is" in str(second.said)
            edge.host.netns.nft("add table ip x\ndelete table ip x")
            assert not judged(probes, DENIED)
            geodrop.good("reload")
            assert judged(probes, DENIED)
            until(edge, lambda status: status["healthy"] or "cannot be read, and left out" in str(status["problems"]))


def test_a_history_that_cannot_be_written(edge: Edge) -> None:
    """A damaged history is a warning: the daemon starts, repairs, and says what it could not write until it can."""
    history = edge.host.folder / "state" / "history.jsonl"
    with watched(edge) as (running, ends), edge.probing(ends) as probes:
        running.end()
        kept = history.read_bytes()
        history.unlink()
        history.mkdir()
        edge.host.netns.run("nft", "flush", "ruleset")
        with daemon(edge.geodrop):
            assert judged(probes, DENIED)
            until(edge, lambda status: any("history.jsonl: Is a directory" in one for one in status["problems"]))
            assert "Is a directory" in edge.geodrop.good("pause").err
            history.rmdir()
            history.write_bytes(kept)
            until(edge, lambda status: not status["problems"])
    assert b'"pause"' in history.read_bytes()


BUG = """
import sys
if "run" in sys.orig_argv:
    import os
    from geodrop.daemon import reload
    from geodrop.daemon.watch import watch

    def buggy(real):
        def called(*given, **named):
            if os.path.exists({flag!r}):
                raise ZeroDivisionError("a test's bug")
            return real(*given, **named)
        return called

    reload.apply_file = buggy(reload.apply_file)
    watch.inspect = buggy(watch.inspect)
"""

FAILED_BY_A_BUG = "reload failed, nothing changed: a bug in the daemon (ZeroDivisionError)"


def test_a_bug_is_a_failed_reload_or_look(edge: Edge) -> None:
    """By command, signal, or in an inspection: 70 or a problem, with the traceback in the log; the daemon goes on."""
    folder = edge.host.folder
    (folder / "path").mkdir()
    (folder / "path" / "sitecustomize.py").write_text(BUG.format(flag=str(folder / "bug")))
    buggy = dataclasses.replace(edge.geodrop, before=("env", f"PYTHONPATH={folder / 'path'}"))
    ends = edge.plug()
    with daemon(buggy) as running, edge.probing(ends) as probes:
        (folder / "bug").touch()
        failed = edge.geodrop.run("reload")
        assert (failed.code, "Traceback" in failed.err) == (70, False)
        running.wait_for(FAILED_BY_A_BUG)
        running.process.send_signal(1)
        running.wait_for(FAILED_BY_A_BUG)
        edge.host.netns.run("nft", "flush", "ruleset")
        status = until(edge, lambda status: any("a bug in watch" in one for one in status["problems"]))
        assert status["healthy"] is False
        assert running.process.poll() is None
        (folder / "bug").unlink()
        # Cause an event, so that the test need not wait for the next try.
        edge.host.netns.nft("add table ip x\ndelete table ip x")
        until(edge, lambda status: status["repaired"] == 1)
        assert judged(probes, DENIED)
        edge.geodrop.good("reload")
    assert "ZeroDivisionError: a test" in running.log


NO_BPFFS = "mount -t tmpfs none /sys/fs/bpf && echo ready && exec sleep 300"


def test_xdp_that_cannot_be_had_at_the_start(edge: Edge) -> None:
    """What a boot loaded stays in force on nftables, is repaired there, and moves to xdp once xdp is available."""
    with contextlib.ExitStack() as stack:
        command = ["unshare", "--mount", "sh", "-c", NO_BPFFS]
        holder = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(holder.kill)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        inside = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt")
        geodrop = Geodrop(edge.geodrop.folder, edge.host.netns, inside)
        edge = dataclasses.replace(edge, host=dataclasses.replace(edge.host, geodrop=geodrop), mount=inside)
        ends = edge.plug()
        with daemon(geodrop) as first:
            first.end()
        edge.agent("xdp", '["eth*"]')
        with daemon(geodrop) as running, edge.probing(ends) as probes:
            assert "degraded: /sys/fs/bpf is no bpffs" in str(running.said)
            assert {engine for _, engine in edge.interfaces()} == {"nftables"}
            until(edge, lambda status: any("is no bpffs" in problem for problem in status["problems"]))
            edge.host.netns.run("nft", "flush", "ruleset")
            until(edge, lambda status: status["repaired"] == 1 and status["enforcing"])
            assert judged(probes, DENIED)
            # The daemon retries by probing xdp, not by compiling.
            entries = geodrop.good("history", "--json").json_lines
            assert [one["outcome"] for one in entries if one["origin"] == "reload"].count("failed") == 1
            edge.inside("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
            until(edge, lambda status: "xdp" in {one["engine"] for one in status["interfaces"]})
            assert judged(probes, DENIED)
            geodrop.good("unload")
        holder.stdout.close()


def test_a_fifo_in_the_place_of_a_database(edge: Edge) -> None:
    """The reload is refused at once, the next one works, and the daemon still ends when told to."""
    path = edge.host.folder / "country.mmdb"
    with watched(edge) as (running, _):
        kept = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        refused = edge.geodrop.run("reload")
        assert (refused.code, "is a FIFO, not a regular file" in refused.err) == (65, True)
        path.unlink()
        path.write_bytes(kept)
        edge.geodrop.good("reload")
        assert running.end() == 0
