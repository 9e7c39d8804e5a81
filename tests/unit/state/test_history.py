# SPDX-License-Identifier: Apache-2.0
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from geodrop.errors import DataError, HeldError
from geodrop.state import announce, unwritten
from geodrop.state import history as module
from geodrop.state.chain import ChainLink, Checked, Fault, check, digest_of
from geodrop.state.entry import DONE, FAILED, HELD, MAX_LINE, ChangeRequest, Entry, parse
from geodrop.state.history import History, policies
from geodrop.state.unwritten import Unwritten

ASKED = ChangeRequest("load", 1000, change="3 regions moved to drop")


def done(origin: str, generation: int, digest: str, target: int = 0, at: float = 1.0) -> Entry:
    """Return a change that was made."""
    return Entry(at, origin, DONE, 0, generation, digest, target=target)


def fail(history: History, generation: int) -> None:
    """Record a reload that fails after it got its number."""
    with history.attempt(ChangeRequest("reload", 0)) as attempt:
        attempt.generation = generation
        raise DataError("it is damaged", "copy it again")


def succeed(history: History, asked: ChangeRequest = ASKED) -> None:
    """Record a load."""
    with history.attempt(asked) as attempt:
        attempt.made = True


def checked(history: History) -> Checked:
    """Return the result of a check of the chain."""
    *_, found = check(history.chain())
    assert found
    return found


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Return a history whose folder does not exist yet."""
    return History(tmp_path / "state" / "history.jsonl")


def test_a_change_and_a_failure_are_both_written_down(history: History) -> None:
    """Each entry has who asked and how it ended; a change that was not made is not recorded."""
    with history.attempt(ASKED) as attempt:
        attempt.generation, attempt.digest, attempt.made = 7, "d7", True
        attempt.inputs = ({"kind": "policy", "sha256": "ab"},)
    with pytest.raises(DataError):
        fail(history, 8)
    with history.attempt(ASKED):
        pass
    first, second = history.entries()
    assert (first.origin, first.outcome, first.uid, first.generation, first.digest) == ("load", DONE, 1000, 7, "d7")
    assert first.change == "3 regions moved to drop"
    assert first.inputs == ({"kind": "policy", "sha256": "ab"},)
    assert first.put_in_force
    assert abs(first.time - time.time()) < 60
    assert (second.origin, second.outcome, second.generation) == ("reload", FAILED, 8)
    assert second.error == "it is damaged; copy it again"
    assert not second.put_in_force


def test_a_bug_is_an_attempt_too(history: History) -> None:
    """An exception that is not a GeodropError is recorded by its name, and raised again."""
    with pytest.raises(ZeroDivisionError), history.attempt(ASKED):
        raise ZeroDivisionError
    assert history.entries()[0].error == "ZeroDivisionError"


def test_what_cannot_be_written_is_kept(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the line cannot be written, nothing fails: it is read with the others, and written before the next one."""
    succeed(history)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
        succeed(history)
        with pytest.raises(DataError):
            fail(history, 8)
    assert [entry.outcome for entry in history] == [DONE, DONE, FAILED]
    assert len(history.path.read_bytes().splitlines()) == 1
    succeed(history)
    assert [entry.outcome for entry in history] == [DONE, DONE, FAILED, DONE]
    assert len(history.path.read_bytes().splitlines()) == 4
    history.write_back()
    assert len(history.entries()) == 4


def test_the_file_is_bounded(history: History) -> None:
    """The oldest lines are removed, but not at each change, and not those that put a needed ruleset in force."""
    for number in range(100):
        history.append(done("load", number + 1, f"d{number}", at=time.time()))
    size = history.path.stat().st_size
    history.prune(1000, {"d3"}, limit=size // 2)
    left = history.entries()
    assert size // 3 < history.path.stat().st_size <= size // 2
    last = next(entry.number for entry in left if entry.number > 5)
    assert [entry.number for entry in left] == [4, *range(last, 102)]
    assert (left[-1].origin, left[0].digest) == ("prune", "d3")
    before = history.path.stat().st_ino
    history.append(done("load", 101, "d100", at=time.time()))
    history.prune(1000, {"d3"}, limit=size // 2)
    assert history.path.stat().st_ino == before


def test_texts_are_bounded(history: History) -> None:
    """A long reason is cut off, so that it cannot fill the disk."""
    with history.attempt(ChangeRequest("pause", 0, why="x" * 100_000)) as attempt:
        attempt.made = True
    assert len(history.path.read_bytes()) < 3000


def test_a_torn_last_line_is_ignored(history: History) -> None:
    """A last line truncated anywhere is ignored silently; the next line replaces it."""
    history.append(done("load", 1, "a"))
    history.append(done("load", 2, "b"))
    whole = history.path.read_bytes()
    start = whole.index(b"\n") + 1
    for end in range(start, len(whole)):
        history.path.write_bytes(whole[:end])
        assert ([entry.generation for entry in history], history.unreadable()) == ([1], 0)
        history.append(done("load", 3, "c"))
        assert ([entry.generation for entry in history], history.unreadable()) == ([1, 3], 0)


@pytest.mark.parametrize(
    "line", [b"\0" * 40, b"{", b"[]", b"7", b'{"time": "x"}', b'{"time": 1, "origin": "load"}', b"\xff", b""]
)
def test_a_damaged_line_is_counted_and_passed_over(history: History, line: bytes) -> None:
    """A damaged line is counted, and the lines around it are read."""
    history.append(done("load", 1, "a"))
    with history.path.open("ab") as file:
        file.write(line + b"\n")
    history.append(done("load", 2, "b"))
    assert [entry.generation for entry in history] == [1, 2]
    assert history.unreadable() == 1


@pytest.mark.parametrize(
    "change",
    [
        ("1.5", "1e19"),
        ("1.5", "1e999"),
        ("1.5", "NaN"),
        ("1.5", "-1"),
        ("1.5", "true"),
        ("7", "1" * 5000),
        ("7", "1e2"),
        ("7", "[" * 10_000),
        ("0", "-5"),
        ("0", "1" + "0" * 20),
        ('"d7"', '"../../passwd"'),
        ('"load"', '"\\u001b[2J"'),
        ('"load"', "null"),
        ("[]", '[{"build_epoch": 1e300}]'),
        ("[]", "[[]]"),
        ("[]", "[" + "{}," * 100_000 + "{}]"),
        ("{", '{"time": 2, '),
    ],
    ids=lambda change: repr(change)[:50],
)
def test_a_line_out_of_bounds_is_passed_over(history: History, change: tuple[str, str]) -> None:
    """Impossible numbers and invalid texts count as damage and never break a reader."""
    line = (
        '{"time": 1.5, "origin": "load", "outcome": "done", "generation": 7, "digest": "d7", "paused": 0, "inputs": []}'
    )
    history.path.parent.mkdir()
    history.path.write_text(f"{line}\n{line.replace(*change)}\n{line}\n")
    assert [entry.generation for entry in history] == [7, 7]
    assert history.unreadable() == 1


def test_a_line_without_end(history: History) -> None:
    """An endless line counts as one unreadable line, and no more of it is held in memory than of any other."""
    succeed(history)
    with history.path.open("ab") as file:
        file.write(b"x" * (MAX_LINE + 5) + b"\n")
    succeed(history)
    assert len(history.entries()) == 2
    assert history.unreadable() == 1


def test_what_is_written_can_be_read(history: History) -> None:
    """An entry is read back with any texts and any number of inputs."""
    inputs = tuple({"kind": "list", "name": "\u3042" * 4_000, "sha256": "ab"} for _ in range(2_000))
    with history.attempt(ChangeRequest("pause", 0, why="\x1b\n" * 100_000)) as attempt:
        attempt.made, attempt.generation, attempt.inputs = True, 3, inputs
    [entry] = history.entries()
    assert (entry.generation, entry.why[:2], entry.inputs) == (3, "\x1b\n", ())
    assert history.unreadable() == 0


def test_what_a_later_version_adds_is_passed_over(history: History) -> None:
    """Keys of a later version are ignored, so a downgrade to this version does not lose the history."""
    history.path.parent.mkdir()
    history.path.write_bytes(b'{"time":1.5,"origin":"load","outcome":"done","uid":3,"generation":9,"more":{}}\n')
    assert history.entries() == [Entry(1.5, "load", DONE, 3, 9)]
    succeed(history)
    assert history.unreadable() == 0


def test_prune_forgets_by_age(history: History) -> None:
    """Old entries are removed, except the last one that put a needed ruleset in force."""
    now = time.time()
    for generation, (digest, age) in enumerate([("a", 90), ("b", 80), ("a", 70), ("c", 60), ("d", 5)], start=1):
        history.append(done("load", generation, digest, at=now - age))
    history.prune(50, {"a", "d"})
    assert [entry.number for entry in history.entries()] == [3, 4, 5, 6]
    assert "2 records until" in history.entries()[-1].change
    history.prune(1, {"d"})
    assert [entry.number for entry in history.entries()] == [5, 6, 7]
    assert checked(history).faults == []


def test_nothing_to_prune(history: History) -> None:
    """A history that is only slightly too old is left as it is, and a missing one is not created."""
    history.prune(50, ())
    history.append(done("load", 1, "a", at=time.time() - 51))
    before = history.path.stat().st_ino
    history.prune(50, ())
    assert history.path.stat().st_ino == before


@pytest.mark.parametrize(
    ("entries", "steps"),
    [
        ([], []),
        ([done("load", 1, "a"), done("load", 2, "b"), done("reload", 3, "c")], ["a", "b", "c"]),
        # Operations that put no new ruleset in force are no steps.
        ([done("load", 1, "a"), done("pause", 2, "a"), done("resume", 3, "a"), done("repair", 4, "a")], ["a"]),
        ([done("load", 1, "a"), done("unload", 0, ""), done("load", 2, "a")], ["a"]),
        # Each rollback goes further back than the one before; a load then continues from there.
        ([done("load", 1, "a"), done("load", 2, "b"), done("load", 3, "c"), done("rollback", 4, "b", 2)], ["a", "b"]),
        (
            [
                done("load", 1, "a"),
                done("load", 2, "b"),
                done("load", 3, "c"),
                done("rollback", 4, "b", 2),
                done("rollback", 5, "a", 1),
                done("load", 6, "d"),
            ],
            ["a", "d"],
        ),
        # A rollback may also go forward, to a ruleset that another rollback had left.
        ([done("load", 1, "a"), done("load", 2, "b"), done("rollback", 3, "a", 1), done("rollback", 4, "b", 2)], "ab"),
        # A boot without the last good ruleset restores an older one; that is no step.
        ([done("load", 1, "a"), done("load", 2, "b"), done("boot", 3, "a")], ["a", "b"]),
        ([done("load", 1, "a"), Entry(2.0, "reload", FAILED, 0, 2, "b")], ["a"]),
    ],
)
def test_steps_of_rollback(entries: list[Entry], steps: list[str]) -> None:
    """There is one step for each policy, in the order in which they came in force; see each case."""
    assert [step.digest for step in policies(entries)] == list(steps)


def test_a_history_is_gone_through_once(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read once for all questions of several statuses, until a line is added, also one kept in /run.

    The last entry of each kind is found, however many others follow it.
    """
    for number in range(1, 40):
        history.append(done("reload" if number % 2 else "pause", number, "a"))
    went: list[int] = []
    lines = module._lines

    def counted(file: IO[bytes]) -> Iterator[Entry | None]:
        went.append(1)
        return lines(file)

    monkeypatch.setattr(module, "_lines", counted)
    for _ in range(3):
        assert [entry.generation for entry in history.recent()] == [38, 39]
        assert history.problems() == []
    assert len(went) == 1
    history.append(Entry(1.0, "reload", FAILED, 0, 40, error="bad"))
    assert [(entry.generation, entry.outcome) for entry in History(history.path).recent()][1:] == [
        (39, DONE),
        (40, FAILED),
    ]
    assert len(went) == 2
    with history.path.open("ab") as file:
        file.write(b"damage\n")
    assert history.unreadable() == History(history.path).unreadable() == 1
    assert len(went) == 3
    history.path.unlink()
    assert (history.recent(), history.unreadable()) == ((), 0)


def test_since_when_a_ruleset_is_in_force(history: History) -> None:
    """A ruleset is in force since its own load: repairs and boots do not change that, another ruleset does."""
    assert history.since("d1") is None
    entries = [
        done("load", 1, "d1", at=10),
        done("repair", 1, "d1", at=20),
        done("reload", 2, "d2", at=30),
        done("reload", 3, "d1", at=40),
        done("boot", 3, "d1", at=50),
        Entry(55, "reload", FAILED, 0, 4, "d2"),
    ]
    for entry in entries:
        history.append(entry)
    assert (history.since("d1"), history.since("d2"), history.since("")) == (40, None, None)
    history.append(Entry(60, "unload", DONE, 0))
    assert history.since("d1") is None


def full(*_: object) -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_each_line_follows_from_the_one_before(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that wait in /run are links already, with the hash that the journal was told; written later, nothing
    about them changes.
    """
    told: list[tuple[int, str]] = []
    monkeypatch.setattr(announce, "_listener", lambda made: told.append((made.entry.number, made.head)))
    succeed(history)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        succeed(history)
        succeed(history)
        assert [entry.number for entry in history] == [1, 2, 3]
        assert (checked(history).records, checked(history).faults) == (3, [])
    succeed(history)
    found = checked(history)
    assert (found.records, found.faults, found.head.number) == (4, [], 4)
    assert told == [(line.number, line.digest) for line in links(history)]


def links(history: History) -> list[ChainLink]:
    """Return number and hash of each line of the file."""
    return [
        ChainLink(entry.number, digest_of(line))
        for line in history.path.read_bytes().splitlines()
        if (entry := parse(line))
    ]


def test_a_crash_between_the_disk_and_run(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ended after writing the lines of /run, and before forgetting them, leaves no line twice."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        succeed(history)
        succeed(history)
    with monkeypatch.context() as patch:
        patch.setattr(Unwritten, "done", lambda *_, **__: None)
        history.write_back()
    assert [entry.number for entry in history] == [1, 2]
    assert checked(history).records == 2
    succeed(history)
    assert [entry.number for entry in history] == [1, 2, 3]
    assert checked(history).faults == []
    assert not Unwritten(history.path.parent).read().lines


def test_a_boot_that_lost_what_waited(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of /run are lost at a boot: the chain goes on from the disk, and only the journal knows of them."""
    told: list[str] = []
    monkeypatch.setattr(announce, "_listener", lambda made: told.append(made.head))
    succeed(history)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        succeed(history, replace(ASKED, why="lost"))  # else it might equal the next record, hash and all
    Unwritten(history.path.parent).done(lines=True)
    succeed(history)
    *_, found = check(history.chain(), told)
    assert found
    assert (found.faults, sorted(found.numbers.values())) == ([], [1, 2])
    assert told[1] not in found.numbers


def test_too_much_for_run_is_missing_and_found(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are lost because a disk was full for too long are missing in the chain, and a check says which."""
    monkeypatch.setattr(unwritten, "MAX_LINES", 1_000)
    succeed(history)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for _ in range(20):
            succeed(history)
    succeed(history)
    numbers = [entry.number for entry in history]
    assert numbers[0] == 1
    assert numbers[-1] == 22
    assert checked(history).faults == [Fault(2, f"records 2 to {numbers[1] - 1} are missing before it")]


def test_a_file_that_cannot_be_read_now(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that cannot be linked yet is linked and told later, also if it says to the millisecond what is there."""
    monkeypatch.setattr(module, "_entry", lambda *_: done("load", 1, "d1"))
    told: list[int] = []
    monkeypatch.setattr(announce, "_listener", lambda made: told.append(made.entry.number))
    succeed(history)
    with monkeypatch.context() as patch:
        patch.setattr(module, "end_of", full)
        patch.setattr(os, "fsync", full)
        succeed(history)
    assert told == [1]
    history.write_back()
    assert told == [1, 2]
    assert (checked(history).records, checked(history).faults) == (2, [])


def test_a_cut_line_is_told_of(history: History) -> None:
    """What a power cut leaves of a line is found; the next record takes its place, and says how much it was."""
    succeed(history)
    with history.path.open("ab") as file:
        file.write(b'{"time":1.5')
    [fault] = checked(history).faults
    assert fault.line == 2
    assert "cut off after 11 bytes" in fault.what
    succeed(history)
    assert history.entries()[-1].cut == 11
    assert (checked(history).faults, checked(history).cut) == ([], [2])


def test_forgotten_records_break_nothing(history: History) -> None:
    """Pruned once and again, by age and by size, the chain holds; a record that was removed by hand is missing."""
    now = time.time()
    for number in range(1, 60):
        history.append(done("load", number, f"d{number % 7}", at=now - 200 + number))
    history.prune(180, {"d1"})
    assert checked(history).faults == []
    for number in range(60, 90):
        history.append(done("load", number, f"d{number % 7}", at=now - 100 + number))
    history.prune(150, {"d2"}, limit=6_000)
    found = checked(history)
    assert (found.faults, found.records) == ([], len(history.entries()))
    assert found.pruned[-1].through > 50
    lines = history.path.read_bytes().splitlines(keepends=True)
    for gone in range(len(lines) - 1):
        history.path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
        assert checked(history).faults, gone


def test_a_held_change_is_no_failure(history: History) -> None:
    """What a limit held has an outcome of its own, with the figures."""
    with pytest.raises(HeldError), history.attempt(ASKED):
        raise HeldError("41.3% would change, limit 5%", "geodrop reload --accept 9a41c07be212")
    [entry] = history
    assert (entry.outcome, entry.error) == (HELD, "41.3% would change, limit 5%; geodrop reload --accept 9a41c07be212")
