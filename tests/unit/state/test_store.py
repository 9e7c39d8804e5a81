import os
import time
from pathlib import Path

import pytest

from geodrop.errors import ApplyError
from geodrop.state.store import Intent, Store


def test_nothing_asked_yet(tmp_path: Path) -> None:
    """A folder that does not exist reads as generation 0."""
    assert Store(tmp_path / "state").intent() == Intent()


def test_intent_survives(tmp_path: Path) -> None:
    """What was remembered is read back by the next process, in a folder closed to others."""
    folder = tmp_path / "state"
    intent = Intent(generation=42, digest="ab", unloaded=True)
    Store(folder).remember(intent)
    assert Store(folder).intent() == intent
    assert folder.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"generation": "x"}', b"\xff"])
def test_damaged_intent_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """A torn file must not stop a load: the kernel's own generation number is asked too."""
    (tmp_path / "intent.json").write_bytes(content)
    assert Store(tmp_path).intent() == Intent()


def test_kept_ruleset_is_a_copy(tmp_path: Path) -> None:
    """The kept ruleset does not change when the operator's file does."""
    source = tmp_path / "a.ruleset"
    source.write_bytes(b"one")
    store = Store(tmp_path / "state")
    store.keep(source, "d1")
    source.write_bytes(b"two")
    assert store.ruleset_path("d1").read_bytes() == b"one"


def test_prune_forgets_only_the_old_and_unneeded(tmp_path: Path) -> None:
    """A ruleset in force is kept however old it is."""
    source = tmp_path / "a.ruleset"
    source.write_bytes(b"x")
    store = Store(tmp_path / "state")
    for digest in ("needed", "old", "young"):
        store.keep(source, digest)
    past = time.time() - 1000
    for digest in ("needed", "old"):
        os.utime(store.ruleset_path(digest), (past, past))
    store.prune(500, {"needed"})
    assert {path.stem for path in (tmp_path / "state" / "rulesets").iterdir()} == {"needed", "young"}


def test_disk_full_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing sync is an ApplyError; the old intent stays and nothing is left beside it."""
    store = Store(tmp_path)
    store.remember(Intent(generation=1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ApplyError, match="No space left"):
        store.remember(Intent(generation=2))
    assert store.intent() == Intent(generation=1)
    assert [path.name for path in tmp_path.iterdir()] == ["intent.json"]
