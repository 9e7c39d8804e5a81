# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.errors import ApplyError, DataError
from geodrop.ruleset import container
from geodrop.ruleset.first_boot import build_closed
from geodrop.state import store as module
from geodrop.state.entry import DONE, FAILED, Entry
from geodrop.state.intent import FOREVER, INTENT, Intent
from geodrop.state.keep import Keep
from geodrop.state.store import Store

PAST_GOOD = Entry(1.0, "load", DONE, 0, 4, "d4")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store whose folder does not exist yet."""
    return Store(tmp_path / "state")


def age(store: Store, digest: str, seconds: float) -> None:
    """Make a kept ruleset look retired this long ago."""
    past = time.time() - seconds
    os.utime(store.ruleset_path(digest), (past, past))


def kept(store: Store) -> set[str]:
    """Return the digests of the stored rulesets."""
    return {path.stem for path in (store.folder / "rulesets").iterdir()}


def test_nothing_asked_yet(store: Store) -> None:
    """A missing folder reads as generation 0, and is no problem."""
    assert store.intent() == Intent()
    assert store.problems() == []


def test_intent_survives(store: Store) -> None:
    """The intent is read back by the next process, from a folder closed to others."""
    intent = Intent(42, "ab", unloaded=True, paused=FOREVER, why="incident 7", last_good="cd", rolled_back=True)
    store.remember(intent)
    assert Store(store.folder).intent() == intent
    assert store.folder.stat().st_mode & 0o777 == 0o750


def test_intent_of_an_older_version(store: Store) -> None:
    """An intent without pause and last good ruleset is read; the ruleset loaded last is the last good one."""
    store.folder.mkdir()
    (store.folder / "intent.json").write_text('{"generation": 3, "digest": "ab", "unloaded": true}')
    assert store.intent() == Intent(3, "ab", unloaded=True, last_good="ab")
    assert store.intent().paused_at(time.time()) is False


GOOD = '{"generation": 3, "digest": "ab", "unloaded": false, "paused": 0, "why": "", "last_good": "ab"}'
OUT_OF_BOUNDS = [
    GOOD.replace(*change).encode()
    for change in (
        ("3", "1e999"),
        ("3", "NaN"),
        ("3", "1" * 5000),
        ("3", "-1"),
        ("3", "[" * 5000),
        ("3", "true"),
        ('"ab"', '"../../../etc/passwd"'),
        ("0", "1" + "0" * 30),
        ("false", "0"),
        ("{", '{"paused": 1, '),
        ('""', f'"{"x" * (1 << 18)}"'),
    )
]
DAMAGED = [b"", b"{", b"[]", b"7", b'{"generation": "x"}', b"\xff", b"\0" * 80, *OUT_OF_BOUNDS]


def test_what_damages_an_intent() -> None:
    """The intent of the cases below is valid apart from the one change that each case makes."""
    assert INTENT(json.loads(GOOD)) == Intent(3, "ab", last_good="ab")


def test_an_intent_is_read_back_whatever_people_write(store: Store) -> None:
    """An intent is read back with any reason for a pause; a long reason is cut off."""
    store.remember(Intent(1, "ab", paused=5, why="\x1b[2J\n\u202e" + "\u3042" * 100_000))
    assert store.intent().paused == 5
    assert store.intent().why.startswith("\x1b[2J\n\u202e\u3042")


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:60]))
def test_damaged_intent_is_not_an_empty_one(store: Store, content: bytes) -> None:
    """Without a history that tells, a damaged intent is unknown: it may have been an unload.

    Entries of boots and of failed attempts do not tell.
    """
    store.folder.mkdir()
    (store.folder / "intent.json").write_bytes(content)
    assert store.intent() == Intent(unknown="cannot be read (it is damaged)")
    assert "it may say unloaded or paused" in store.problems()[0]
    store.history.append(Entry(1.0, "reload", FAILED, 0, 5, "d5"))
    store.history.append(Entry(2.0, "boot", DONE, 0, 6, "closed"))
    assert store.intent().unknown
    store.remember(Intent(7))
    assert (store.intent(), store.problems()) == (Intent(7), [])


@pytest.mark.parametrize("intent", [b"{", None], ids=["damaged", "missing"])
def test_a_history_with_gaps_does_not_tell(store: Store, intent: bytes | None) -> None:
    """With an unreadable line in the history the intent is unknown: that line may be an unload."""
    store.history.append(PAST_GOOD)
    with store.history.path.open("ab") as file:
        file.write(b"\0\0\n")
    if intent is not None:
        (store.folder / "intent.json").write_bytes(intent)
    found = store.intent()
    assert found.unknown
    assert (found.generation, found.digest) == (4, "d4")


def unreadable(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Make files exist but fail to be read, as with a bad block or without free descriptors."""
    real = os.open

    def broken(path: str, *arguments: int, **options: int) -> int:
        if os.path.basename(path) in names or (not names and str(path).endswith(".json")):
            raise OSError(5, "Input/output error", path)
        return real(path, *arguments, **options)

    patch.setattr(os, "open", broken)


def test_an_intent_that_cannot_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The intent is recovered from the history; if that cannot be read, it is unknown, and the message says why."""
    store.remember(Intent(1, "d1", unloaded=True, last_good="d1"))
    store.history.append(PAST_GOOD)
    store.history.append(Entry(5.0, "unload", DONE, 0))
    unreadable(monkeypatch, "intent.json")
    assert store.intent() == Intent(4, "d4", unloaded=True, last_good="d4")
    unreadable(monkeypatch, "history.jsonl")
    assert store.intent().unknown == "cannot be read (Input/output error)"
    assert "Input/output error" in "\n".join(store.problems())


def test_who_holds_the_lock_remembers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon without descriptors, or with a failing disk, uses what it read or wrote last, and repairs the file."""
    monkeypatch.setattr("geodrop.state.store._known", {})
    asked = Intent(1, "d1", paused=FOREVER, last_good="d1")
    store.remember(asked)
    with monkeypatch.context() as patch:
        unreadable(patch)
        assert Store(store.folder).intent() == asked
        store.note(replace(asked, paused=0))
        assert Store(store.folder).intent() == replace(asked, paused=0)
    (store.folder / "intent.json").write_bytes(b"\0")
    assert Store(store.folder).intent() == replace(asked, paused=0)
    store.write_back()
    assert json.loads((store.folder / "intent.json").read_bytes())["paused"] == 0
    assert store.unwritten() == ()


@pytest.mark.parametrize("content", [*DAMAGED, None], ids=lambda content: repr(content and content[:60]))
def test_damaged_intent_is_recovered(store: Store, content: bytes | None) -> None:
    """The history has rulesets, a pause and an unload, so the intent is recovered; the damage is reported."""
    entries = [
        PAST_GOOD,
        Entry(2.0, "load", FAILED, 0, 5, "d5"),
        Entry(3.0, "rollback", DONE, 0, 6, "d2", target=2),
        Entry(4.0, "pause", DONE, 0, 7, "d2", why="incident", paused=FOREVER),
        Entry(5.0, "unload", DONE, 0),
    ]
    for entry in entries:
        store.history.append(entry)
    if content is not None:
        (store.folder / "intent.json").write_bytes(content)
    expected = Intent(7, "d2", True, FOREVER, "incident", "d2", True)  # noqa: FBT003 - an Intent as it stands
    assert store.intent() == expected
    assert "cannot be read; the history is used" in store.problems()[0]
    store.remember(expected)
    assert [problem for problem in store.problems() if "intent.json" in problem] == []


def test_before_the_first_intent(store: Store) -> None:
    """Failed attempts before the first success are history, and no damage of the intent."""
    store.history.append(Entry(1.0, "boot", FAILED, 0, error="there is no last good ruleset"))
    assert store.problems() == []


def test_what_boot_made_do_with_is_not_the_last_good(store: Store) -> None:
    """A ruleset restored by a boot is not the last good one: it may be an older one, or that of a first boot."""
    store.history.append(PAST_GOOD)
    store.history.append(Entry(2.0, "boot", DONE, 0, 5, "d3"))
    assert store.intent() == Intent(5, "d3", last_good="d4")


def test_damaged_history_is_told(store: Store) -> None:
    """A damaged history is reported, and everything else works."""
    store.remember(Intent(1))
    (store.folder / "history.jsonl").write_bytes(b"\0\0\0\n\n")
    assert "2 lines cannot be read, and left out" in store.problems()[0]
    assert store.intent() == Intent(1)


def test_missing_last_good_ruleset_is_told(store: Store) -> None:
    """A missing last good ruleset is reported, because the next boot needs it."""
    store.remember(Intent(1, "d1", last_good="d1"))
    assert "the last good ruleset is missing" in store.problems()[0]
    store.keep_bytes(b"x", "d1")
    assert store.problems() == []


def packed(folder: Path, content: bytes = b"one", base: Path | None = None) -> Path:
    """Write a ruleset file, under the name that the store gives it."""
    sections = {"large": bytes(4096), "small": content}
    data = container.pack({}, sections, container.open_file(base) if base else None)
    path = folder / f"{container.digest_of(data)}.ruleset"
    path.write_bytes(data)
    return path


def test_kept_ruleset_is_what_was_read(store: Store, tmp_path: Path) -> None:
    """The stored copy is what was checked, whatever happened to the operator's file; a damaged copy is replaced."""
    source = packed(tmp_path)
    content, opened = source.read_bytes(), container.open_file(source)
    source.write_bytes(b"two")
    path = store.ruleset_path(opened.digest)
    store.keep(opened)
    assert path.read_bytes() == content
    path.write_bytes(content[:-1])
    store.keep(opened)
    assert path.read_bytes() == content
    store.keep(container.open_file(path))
    assert path.read_bytes() == content


def test_what_was_just_kept_is_not_hashed_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load reads the ruleset from the state directory several times: what it has checked and written is known. Once
    the file is another one, it is read.
    """
    source = packed(tmp_path)
    opened = container.open_file(source)
    with monkeypatch.context() as patch:
        store.keep(opened)
        patch.setattr(container, "_check_sections", None)
        assert container.open_file(store.ruleset_path(opened.digest)).sections == opened.sections
        assert store.is_kept(opened.digest)
    path = store.ruleset_path(opened.digest)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    os.truncate(path, 0)
    path.write_bytes(content)
    os.utime(path, (1, 1))
    assert not store.is_kept(opened.digest)


def test_a_ruleset_is_the_one_of_its_name(store: Store) -> None:
    """A valid file under the name of another digest is refused."""
    content = build_closed()
    digest = container.digest_of(content)
    store.keep_bytes(content, digest)
    assert store.ruleset(digest).digest == digest
    store.keep_bytes(content, "ab" * 32)
    with pytest.raises(DataError, match="holds another ruleset"):
        store.ruleset("ab" * 32)
    with pytest.raises(DataError):
        store.ruleset("cd" * 32)


def test_the_ruleset_asked_for_last(store: Store, tmp_path: Path) -> None:
    """The ruleset asked for last is the one that the intent names, if it is stored; a damaged one is an error."""
    assert store.asked_for() is None
    file = container.open_file(packed(tmp_path))
    store.remember(Intent(1, file.digest, last_good=file.digest))
    assert store.asked_for() is None
    store.keep(file)
    found = store.asked_for()
    assert found
    assert found.digest == file.digest
    store.ruleset_path(file.digest).write_bytes(b"damaged")
    with pytest.raises(DataError):
        store.asked_for()


def test_base_is_kept_with_what_needs_it(store: Store, tmp_path: Path) -> None:
    """A delta file is stored with its base; the base is never pruned before it, and reported if it is missing."""
    base = packed(tmp_path)
    delta = packed(tmp_path, b"two", base)
    store.keep(container.open_file(delta))
    assert kept(store) == {base.stem, delta.stem}
    age(store, base.stem, 1000)
    store.remember(Intent(1, delta.stem, last_good=delta.stem))
    store.prune(Keep(500), set())
    assert kept(store) == {base.stem, delta.stem}
    assert store.problems() == []
    store.ruleset_path(base.stem).unlink()
    assert base.stem in store.problems()[0]


def test_base_goes_with_the_last_that_needs_it(store: Store, tmp_path: Path) -> None:
    """A base without delta files is pruned like any other ruleset."""
    base = packed(tmp_path)
    delta = packed(tmp_path, b"two", base)
    store.keep(container.open_file(delta))
    for digest in (base.stem, delta.stem):
        age(store, digest, 1000)
    store.prune(Keep(500), set())
    assert kept(store) == set()


def test_what_cannot_be_read_forgets_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta file that cannot be opened, for lack of a descriptor, still needs its base; status reports it."""
    base = packed(tmp_path, b"one")
    store.keep(container.open_file(base))
    delta = packed(tmp_path, b"two", base)
    store.keep(container.open_file(delta))
    store.remember(Intent(1, delta.stem, last_good=delta.stem))
    for digest in (base.stem, delta.stem):
        age(store, digest, 1000)

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(container, "open_regular", refuse)
        store.prune(Keep(500), set())
        assert any("the last good ruleset cannot be read (Too many open files)" in line for line in store.problems())
    assert kept(store) == {base.stem, delta.stem}
    assert store.problems() == []


def test_prune_forgets_only_the_old_and_unneeded(store: Store) -> None:
    """What is in force, the last good ruleset, and the one a rollback would go back to stay, however old they are."""
    for generation, digest in enumerate(("ancient", "target", "before"), start=1):
        store.history.append(Entry(time.time(), "load", DONE, 0, generation, digest))
    store.remember(Intent(3, digest="asked", last_good="good"))
    for digest in ("ancient", "target", "before", "asked", "good", "needed", "young"):
        store.keep_bytes(b"x", digest)
        if digest != "young":
            age(store, digest, 1000)
    store.prune(Keep(500), {"needed"})
    assert kept(store) == {"target", "before", "asked", "good", "needed", "young"}


def test_age_counts_from_when_it_ceased_to_be_in_force(store: Store) -> None:
    """A ruleset that was in force for years is kept as long afterwards as one that was in force for a day."""
    store.keep_bytes(b"x", "d1")
    age(store, "d1", 1000)
    store.retire("d1")
    store.prune(Keep(500), set())
    assert kept(store) == {"d1"}
    store.retire("never kept")


def test_prune_bounds_count_and_size(store: Store) -> None:
    """The youngest rulesets stay, as many as fit, and the needed ones even if they do not fit."""
    for number in range(6):
        store.keep_bytes(b"x" * 100, f"d{number}")
        age(store, f"d{number}", 100 - number)
    store.remember(Intent(1, "d0", last_good="d0"))
    store.prune(Keep(count=4), set())
    assert kept(store) == {"d0", "d3", "d4", "d5"}
    store.prune(Keep(size=350), set())
    assert kept(store) == {"d0", "d4", "d5"}
    store.prune(Keep(size=1), {"d4"})
    assert kept(store) == {"d0", "d4"}


def test_nothing_is_forgotten_while_the_intent_is_unknown(store: Store) -> None:
    """While the intent is unknown, any ruleset may be the needed one."""
    store.keep_bytes(b"x", "d1")
    age(store, "d1", 1000)
    (store.folder / "intent.json").write_bytes(b"\0")
    store.prune(Keep(500), set())
    assert kept(store) == {"d1"}


def test_prune_sweeps_what_crashes_left(store: Store) -> None:
    """Half-written files of a crash are removed, so that they do not fill the disk."""
    store.keep_bytes(b"x", "d1")
    for folder in (store.folder, store.folder / "rulesets"):
        (folder / ".new-abc").write_bytes(b"half")
    store.prune(Keep(500), set())
    assert not list(store.folder.rglob(".new-*"))


def test_what_cannot_be_pruned_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be removed stays, and pruning does not fail."""
    store.keep_bytes(b"x", "d1")
    age(store, "d1", 1000)
    store.history.append(PAST_GOOD)

    def refuse(path: Path) -> None:
        raise OSError(5, f"{path}")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(os, "fsync", lambda _: refuse(store.folder))
    store.prune(Keep(500), set())
    assert kept(store) == {"d1"}
    assert [entry.digest for entry in store.history] == [PAST_GOOD.digest]


def test_disk_full_leaves_the_old_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing sync is an ApplyError; the old intent stays, and no other file is left."""
    store.remember(Intent(generation=1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ApplyError, match="No space left"):
        store.remember(Intent(generation=2))
    assert store.intent() == Intent(generation=1)
    assert [path.name for path in store.folder.iterdir()] == ["intent.json"]


def test_the_file_is_json_for_people(store: Store) -> None:
    """intent.json is readable JSON, with the keys of the documentation."""
    store.remember(Intent(1, "d1"))
    assert set(json.loads((store.folder / "intent.json").read_bytes())) >= {
        "generation",
        "digest",
        "paused",
        "last_good",
    }


def test_a_reader_does_not_bring_an_old_intent_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that has read the file before an `unload` is written, and goes on after it, changes nothing."""
    monkeypatch.setattr(module, "_known", {})
    store.remember(old := Intent(1, "ab", last_good="ab"))
    new, read = replace(old, unloaded=True), Store._read_intent

    def overtaken(self: Store) -> Intent | None:
        found = read(self)
        monkeypatch.setattr(Store, "_read_intent", read)
        Store(store.folder).note(new)  # what another thread does
        return found

    monkeypatch.setattr(Store, "_read_intent", overtaken)
    assert store.intent() == old
    store.write_back()
    assert store.intent() == new
