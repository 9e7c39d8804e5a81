# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import os
import random
import re
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from geodrop.errors import DataError
from geodrop.formats import RULESET
from geodrop.ruleset import container

META = {"name": "Ürümqi", "list": [1, 2]}
THREADS, OPENS = 3, 300
NUMBER_AT = 8
SECTIONS = {"b": b"12345", "a": b"", "long": bytes(range(256)) * 3}


@pytest.fixture
def packed() -> bytes:
    """Return a small file with an empty, a short and a long section."""
    return container.pack(META, SECTIONS)


def test_unpack_gives_back_what_was_packed(packed: bytes) -> None:
    """Meta and sections survive the round trip, and sections can be read in place as wide integers."""
    opened = container.unpack(packed, "file")
    assert opened.meta == META
    assert {name: bytes(view) for name, view in opened.sections.items()} == SECTIONS
    assert opened.sections["long"].cast("I")[0] == 0x03020100


def test_same_content_gives_the_same_bytes(packed: bytes) -> None:
    """The file does not depend on the order in which its parts are passed."""
    shuffled = container.pack(dict(reversed(META.items())), dict(reversed(SECTIONS.items())))
    assert shuffled == packed


def test_sections_are_read_only_and_aligned(packed: bytes) -> None:
    """A reader cannot change what was verified; sections start at cache-line boundaries."""
    opened = container.unpack(packed, "file")
    with pytest.raises(TypeError):
        opened.sections["b"][0] = 0
    start = packed.index(b"12345")
    assert start % container.ALIGNMENT == 0


@pytest.mark.parametrize("length", [0, 1, 7, 8, 47, 79, 80, 100, 500])
def test_cut_file_is_refused(packed: bytes, length: int) -> None:
    """A truncated copy is recognised, wherever it was cut."""
    with pytest.raises(DataError, match="file: "):
        container.unpack(packed[:length], "file")


def test_every_altered_byte_is_noticed(packed: bytes) -> None:
    """No byte of the file is outside the digest and the magic, but for the number of the format."""
    for at in range(len(packed)):
        altered = bytearray(packed)
        if at == NUMBER_AT:
            continue  # as a file of the format before, it says the same
        altered[at] ^= 0x01
        with pytest.raises(DataError):
            container.unpack(bytes(altered), "file")


def test_newer_version_says_upgrade(packed: bytes) -> None:
    """A file of a newer geodrop is recognised as such, not as damaged."""
    newer = bytearray(packed)
    struct.pack_into("<I", newer, 8, RULESET.number + 1)
    with pytest.raises(DataError, match="written by a newer geodrop, format 4"):
        container.unpack(bytes(newer), "file")


@pytest.mark.parametrize("length", [10_000, -1, "1", None])
def test_section_of_an_impossible_length_is_refused(length: object) -> None:
    """Even with a correct digest, a section must lie inside the file."""
    body = json.dumps({"meta": {}, "sections": {"a": [length, hashlib.sha256(b"").hexdigest()]}}).encode()
    digest = hashlib.sha256(body).digest()
    header = container.HEADER.pack(container.MAGIC, RULESET.number, digest, len(body), container.NO_BASE)
    with pytest.raises(DataError, match=r"damaged|altered"):
        container.unpack(header + body, "file")


OTHER = {**SECTIONS, "b": b"54321"}


def delta_file(folder: Path) -> tuple[Path, Path]:
    """Write a delta file, and its base beside it."""
    whole = container.pack(META, SECTIONS)
    base = folder / f"{container.digest_of(whole)}.ruleset"
    base.write_bytes(whole)
    delta = folder / "delta.ruleset"
    delta.write_bytes(container.pack(META, OTHER, container.open_file(base)))
    return delta, base


def test_delta_file_says_the_same_as_a_whole_one(tmp_path: Path) -> None:
    """A delta file leaves out what its base has: digest, meta and sections are those of the whole file."""
    delta, base = delta_file(tmp_path)
    whole = container.pack(META, OTHER)
    assert delta.stat().st_size < len(whole) - len(SECTIONS["long"])
    assert container.base_path(delta) == str(base)
    opened = container.open_file(delta)
    assert opened.digest == container.digest_of(whole)
    assert {name: bytes(view) for name, view in opened.sections.items()} == OTHER
    assert opened.whole.digest == container.digest_of(base.read_bytes())


def test_only_a_ruleset_names_a_base(tmp_path: Path) -> None:
    """Of a file that is something else, or of another version, no bytes are taken for the digest of a base."""
    delta, base = delta_file(tmp_path)
    head = delta.read_bytes()
    for content in (b"x" * 80, b"x" * 10_000, head[: container.HEADER.size - 1], head[:8] + b"\xff" * 4 + head[12:]):
        (tmp_path / "other").write_bytes(content)
        assert container.base_path(tmp_path / "other") == ""
    (tmp_path / "other").write_bytes(head[: container.HEADER.size])
    assert container.base_path(tmp_path / "other") == str(base)


def test_delta_file_is_only_made_where_it_saves_much(tmp_path: Path) -> None:
    """A file that differs in most of its bytes is written as a whole file."""
    _, base = delta_file(tmp_path)
    other = {**SECTIONS, "long": bytes(len(SECTIONS["long"]))}
    assert container.pack(META, other, container.open_file(base)) == container.pack(META, other)


def test_delta_file_without_its_base_is_refused(tmp_path: Path) -> None:
    """A delta file is refused, and named, if its base is missing, damaged or replaced by another file."""
    delta, base = delta_file(tmp_path)
    content = base.read_bytes()
    for wrong in (container.pack(META, OTHER), content[:-1], content[:-1] + b"x", delta.read_bytes()):
        base.write_bytes(wrong)
        with pytest.raises(DataError):
            container.open_file(delta)
    base.unlink()
    with pytest.raises(DataError, match="No such file"):
        container.open_file(delta)
    with pytest.raises(DataError, match="based on"):
        container.unpack(delta.read_bytes(), "delta")


def test_base_is_found_in_a_folder(tmp_path: Path) -> None:
    """A file copied from elsewhere finds its base in the folder of rulesets; descriptors need no folder at all."""
    delta, base = delta_file(tmp_path)
    kept = tmp_path / "kept"
    kept.mkdir()
    base = base.rename(kept / base.name)
    assert container.open_file(delta, kept).whole.digest == base.stem
    with delta.open("rb") as one, base.open("rb") as other:
        assert container.open_descriptors([one.fileno(), other.fileno()], "given").meta == META
        with pytest.raises(DataError, match="based on"):
            container.open_descriptors([one.fileno()], "given")


def test_unchanged_file_is_read_once(tmp_path: Path) -> None:
    """A verified file that has not changed is not hashed again; any write to it is noticed."""
    path = tmp_path / "a.ruleset"
    path.write_bytes(container.pack(META, SECTIONS))
    container.open_file(path)
    with path.open("r+b") as file:  # immediately: the timestamps may be equal, but the file is too new to be remembered
        file.seek(-1, 2)
        file.write(b"x")
    with pytest.raises(DataError, match="altered"):
        container.open_file(path)
    path.write_bytes(container.pack(META, SECTIONS))
    time.sleep(1.5 * container.MIN_AGE)
    container.open_file(path)
    with mock.patch.object(container, "_check_sections", side_effect=AssertionError):
        container.open_file(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="altered"):
        container.open_file(path)


class Interrupted(dict[tuple[int, ...], container.Container]):
    """A dictionary that lets other threads go on at each change, as the interpreter may at any time."""

    def __delitem__(self, key: tuple[int, ...]) -> None:
        time.sleep(1e-5)
        super().__delitem__(key)

    def __setitem__(self, key: tuple[int, ...], value: container.Container) -> None:
        super().__setitem__(key, value)
        time.sleep(1e-5)


def test_threads_open_files_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets the file that it asked for, also where they take turns in what is kept open; that stays bounded."""
    kept = Interrupted()
    monkeypatch.setattr(container, "_opened", kept)
    monkeypatch.setattr(container, "MIN_AGE", -1.0)
    paths = [tmp_path / f"{number}.ruleset" for number in range(container.MAX_OPENED + 1)]
    for number, path in enumerate(paths):
        path.write_bytes(container.pack({"number": number}, {"a": bytes(64)}))

    def read(first: int) -> list[object]:
        return [container.open_file(paths[(first + step) % len(paths)]).meta for step in range(OPENS)]

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(read, range(THREADS)))
    assert found == [[{"number": (first + step) % len(paths)} for step in range(OPENS)] for first in range(THREADS)]
    assert len({one.digest for one in kept.values()}) <= container.MAX_OPENED


def test_pages_that_a_reader_touches_are_given_back_with_it(tmp_path: Path) -> None:
    """A file that is remembered, and its base, take no memory of this process but what their readers just use."""
    large = {name: random.Random(1).randbytes(1 << 22) for name in ("a", "b")}
    base, delta = (tmp_path / "base.ruleset", tmp_path / "delta.ruleset")
    base.write_bytes(container.pack({}, large))
    base = base.rename(tmp_path / f"{container.open_file(base).digest}.ruleset")
    whole = container.open_file(base)
    delta.write_bytes(container.pack({}, {**large, "c": b"c"}, whole))
    container.written(delta, container.open_file(delta))
    container.written(base, whole)
    del whole
    for _ in range(2):
        reader = container.open_file(delta)
        assert reader.base
        assert {name: bytes(section) for name, section in reader.sections.items()} == {**large, "c": b"c"}
        assert _mapped() >= 2 << 22
        del reader
        assert _mapped() < 1 << 22


def test_what_is_remembered_has_bounds(tmp_path: Path) -> None:
    """However often files are written, or only touched, a few are remembered, and their descriptors."""
    before = None
    for number in range(12):
        path = tmp_path / f"{number % 3}.ruleset"
        path.write_bytes(container.pack({}, {"a": bytes([number // 4])}))
        opened = container.open_file(path)
        for moment in range(3):
            os.utime(path, (moment, moment))
            container.written(path, opened)
        del opened
        found = len(os.listdir("/proc/self/fd"))
        before = before or found
        assert found <= before + 2 * container.MAX_NAMES


def _mapped() -> int:
    """Return the bytes of rulesets that this process has mapped and touched."""
    maps = Path("/proc/self/smaps").read_text(encoding="ascii")
    parts = re.findall(r"/memfd:ruleset .*\n(?:[^\n]*\n)*?Rss: +(\d+) kB", maps)
    return sum(map(int, parts)) << 10


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """A file overwritten in place after each of our reads is either opened as it was or refused; never a mix."""
    path = tmp_path / "a.ruleset"
    old, new = container.pack(META, SECTIONS), container.pack(META, OTHER)
    digests = {container.digest_of(old), container.digest_of(new)}
    refused = 0
    for at in range(0, len(old), 16):
        path.write_bytes(new[:at] + old[at:])
        try:
            opened = container.open_file(path)
        except DataError:
            refused += 1
            continue
        path.write_bytes(b"")
        assert opened.digest in digests
        assert b"".join(map(bytes, opened.sections.values())) in {
            b"".join(one[name] for name in opened.sections) for one in (SECTIONS, OTHER)
        }
    assert refused


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe without a writer, an endless device and a folder are refused at once."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(DataError, match="not a regular file"):
            container.open_file(path)


def test_a_base_that_names_itself(tmp_path: Path) -> None:
    """A delta file whose base is a delta file that leads back to it is refused."""
    delta, base = delta_file(tmp_path)
    for path in (base, delta):
        content = bytearray(delta.read_bytes())
        content[48:80] = bytes.fromhex(base.stem)
        path.write_bytes(content)
    with pytest.raises(DataError, match="based on"):
        container.open_file(delta)


def test_a_json_part_without_end(tmp_path: Path) -> None:
    """The length of the JSON part is checked before it is read, and its number of values before it is parsed."""
    header = container.HEADER.pack(
        container.MAGIC, RULESET.number, bytes(32), container.BOUNDS.size + 1, container.NO_BASE
    )
    with (tmp_path / "large").open("wb") as file:
        file.write(header)
        file.truncate(container.BOUNDS.size + 200)
    with pytest.raises(DataError, match="bytes of JSON"):
        container.open_file(tmp_path / "large")
    (tmp_path / "many").write_bytes(container.pack({"bomb": [{}] * container.BOUNDS.values}, {}))
    with pytest.raises(DataError, match="values"):
        container.open_file(tmp_path / "many")


def test_missing_and_empty_files_are_data_errors(tmp_path: Path) -> None:
    """A missing or empty file is bad data with a next step."""
    missing = tmp_path / "none.ruleset"
    with pytest.raises(DataError, match="No such file"):
        container.open_file(missing)
    missing.touch()
    with pytest.raises(DataError, match="not a geodrop ruleset"):
        container.open_file(missing)
