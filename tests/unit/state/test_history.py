import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from geodrop.errors import DataError
from geodrop.state import history as module
from geodrop.state.history import DONE, FAILED, MAX_LINE, ChangeRequest, Entry, History, policies

ASKED = ChangeRequest("load", 1000, change="3 regions moved to drop")


def done(origin: str, generation: int, digest: str, target: int = 0, at: float = 1.0) -> Entry:
    """Return a change that was made."""
    return Entry(at, origin, DONE, 0, generation, digest, target=target)


def fail(history: History, generation: int) -> None:
    """Record a reload that fails after it got its number."""
    with history.attempt(ChangeRequest("reload", 0)) as attempt:
        attempt.generation = generation
        raise DataError("it is damaged", "copy it again")


def succeed(history: History) -> None:
    """Return a load."""
    with history.attempt(ASKED) as attempt:
        attempt.made = True


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
    assert [entry.digest for entry in left[:2]] == ["d3", f"d{101 - len(left)}"]
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


def test_prune_forgets_by_age(history: History) -> None:
    """Old entries are removed, except the last one that put a needed ruleset in force."""
    now = time.time()
    for generation, (digest, age) in enumerate([("a", 90), ("b", 80), ("a", 70), ("c", 60), ("d", 5)], start=1):
        history.append(done("load", generation, digest, at=now - age))
    history.prune(50, {"a", "d"})
    assert [entry.generation for entry in history.entries()] == [3, 5]
    history.prune(1, {"d"})
    assert [entry.generation for entry in history.entries()] == [5]


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
