# SPDX-License-Identifier: Apache-2.0
"""The formats of what outlives a process: the fixtures in tests/formats are read, and their bytes stay as they are."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from geodrop import formats
from geodrop.control import frame
from geodrop.errors import DataError, NewerError
from geodrop.nftables.stamp import Stamp
from geodrop.ruleset import container
from geodrop.ruleset.enforced import EnforcedService
from geodrop.ruleset.explain import explain
from geodrop.ruleset.meta import meta_json
from geodrop.ruleset.model import Ruleset
from geodrop.state import announce, unwritten
from geodrop.state.chain import Checked, check
from geodrop.state.entry import DONE, Entry, Pruned
from geodrop.state.exemptions import ClockReading, Exemption
from geodrop.state.intent import Intent
from geodrop.state.keep import Keep
from geodrop.state.store import Store
from geodrop.state.unconfirmed import Unconfirmed, Undone
from geodrop.xdp import layout
from tests.formats import make
from tests.support.worlds import packed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONCE = [name for name in make.MADE if name not in {"ruleset", "delta"}]
"""What is written from values that never change. A ruleset is compiled, and what is compiled may get better."""

CHANGED = (
    "The bytes of {name} format {number} have changed. If files with that number exist outside of this tree, give "
    "the new form the next number in formats.py, let a reader of the one before stay, and run: "
    "python -m tests.formats.make"
)
EARLIEST = {"program-set"}
"""Formats of which the one before is replaced and not read: of another layout only the control word counts, which
tests/kernel/xdp/test_stale.py tests."""

DENIED = {"1.0.0.1": "CN", "2400::1": "CN", "9.9.9.9": "9.9.9.9", "2002:100:1::": "CN"}
PASSES = {"2.0.0.1", "5.5.0.1", "10.0.0.1", "2600::1"}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory, beside which a folder stands for /run."""
    (tmp_path / "run").mkdir()
    (tmp_path / "state").mkdir()
    with (
        mock.patch.object(unwritten, "until_boot", return_value=str(tmp_path / "run")),
        mock.patch.object(announce, "_listener"),
    ):
        yield tmp_path / "state"


def both(name: str) -> list[int]:
    """Return the numbers of a format that are read."""
    number = make.MADE[name][0]
    return [number] if name in EARLIEST else sorted({max(number - 1, 1), number})


@pytest.mark.parametrize("name", make.MADE)
def test_each_format_has_its_fixtures(name: str) -> None:
    """A fixture of the present format and one of the format before are there, so a new number needs a new fixture."""
    for number in both(name):
        assert make.path(name, number).is_file(), "python -m tests.formats.make"


@pytest.mark.parametrize("name", ONCE)
def test_bytes_change_only_with_the_number(name: str) -> None:
    """What is written from the same values is the same bytes as when the format got its number."""
    number = make.MADE[name][0]
    assert make.made(name) == make.read(name, number), CHANGED.format(name=name, number=number)


def keys(value: object) -> set[str]:
    """Return every key in a value."""
    if isinstance(value, dict):
        return value.keys() | {key for one in value.values() for key in keys(one)}
    return {key for one in value for key in keys(one)} if isinstance(value, list) else set()


@pytest.mark.parametrize(
    ("name", "kinds", "never"),
    [
        ("intent", [Intent, Unconfirmed, Undone], {"newer", "unknown"}),
        ("history", [Entry, Pruned, EnforcedService], {"newer"}),
        ("exemptions", [Exemption], set()),
        ("unwritten", [unwritten.Held], {"newer", "in_memory"}),
    ],
)
def test_a_fixture_has_every_key(name: str, kinds: list[type[Any]], never: set[str]) -> None:
    """A field that is added is in no fixture yet: it has to be added to the values in formats/make.py."""
    found = {key for line in make.read(name, make.MADE[name][0]).splitlines() for key in keys(json.loads(line))}
    assert {field.name for kind in kinds for field in fields(kind)} - never <= found


def form(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return keys and types of a value, however often they come."""
    if isinstance(value, dict):
        return {key: form(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return sorted({repr(form(one)) for one in value})
    return type(value).__name__


def test_the_form_of_a_ruleset_changes_only_with_the_number(tmp_path: Path) -> None:
    """A ruleset written again has the same bytes, and what is compiled now has the same keys, types and sections."""
    said = CHANGED.format(name="ruleset", number=formats.RULESET.number)
    whole, thin = opened(formats.RULESET.number)
    base = container.unpack(make.read("ruleset", formats.RULESET.number), "base")
    assert container.pack(meta_json(whole.meta), whole.sections) == make.read("ruleset", formats.RULESET.number), said
    assert container.pack(meta_json(thin.meta), thin.sections, base) == make.read("delta", base.number), said
    now = Ruleset.unpack(packed(make.POLICY, tmp_path), "now")
    assert form(meta_json(now.meta)) == form(meta_json(whole.meta)), said
    assert now.sections.keys() == whole.sections.keys(), said


def opened(number: int) -> tuple[Ruleset, Ruleset]:
    """Return the ruleset of a format, and the one of its delta file."""
    base = container.unpack(make.read("ruleset", number), "base")
    delta = container.unpack(make.read("delta", number), "delta", base)
    assert (base.number, delta.number) == (number, number)
    return Ruleset.of(base, "base"), Ruleset.of(delta, "delta")


def denies(ruleset: Ruleset, address: str) -> bool:
    """Return whether some service would drop an address, once it has started."""
    return any(one.would_drop for one in explain(ruleset, ip_address(address), 2_000_000_000))


@pytest.mark.parametrize("number", both("ruleset"))
def test_rulesets_judge_as_when_they_were_written(number: int) -> None:
    """Both formats have the verdicts of their policy, in a whole file and in a delta file."""
    whole, delta = opened(number)
    assert {address for address in (*DENIED, *PASSES) if denies(whole, address)} == DENIED.keys()
    assert [denies(one, "2a02::1") for one in (whole, delta)] == [True, True]
    russia = ip_address("5.0.0.1")
    assert [one.row(one.zone_at(russia), 0).verdict for one in (whole, delta)] == ["drop", "accept"]


def test_what_is_read_of_every_layout_stays() -> None:
    """Control word and counters have their places in each layout of the XDP program's maps: any version reads them."""
    core = [name for name in vars(layout) if name.startswith("CONTROL_")]
    layouts = [path.read_text() for path in sorted(make.FOLDER.glob("program-set-*.txt"))]
    assert layouts
    for text in layouts:
        parts = dict(re.findall(r"^(\w+) (.*(?:\n  .*)*)", text, re.MULTILINE))
        assert {name: parts[name] for name in core} == {name: str(getattr(layout, name)) for name in core}
        assert parts["ControlLayout"] == "40\n  word 0 8\n  window 8 32"
        assert parts["WindowLayout"] == "16\n  deadline 0 8\n  previous 8 8"
        assert parts["CounterLayout"] == "16\n  packets 0 8\n  bytes 8 8"


def test_the_comment_of_a_generation_stays() -> None:
    """By this text in the kernel's table each version knows what another one has put in force."""
    said = f"geodrop generation 42 digest {make.A} loaded 2030-01-01T00:00:00Z"
    assert str(Stamp(42, make.A, 1_893_456_000)) == said
    assert Stamp.parse(said) == Stamp(42, make.A, 1_893_456_000)


@pytest.mark.parametrize("number", both("intent"))
def test_an_intent_is_read(state: Path, number: int) -> None:
    """Both formats say all that was asked for."""
    (state / "intent.json").write_bytes(make.read("intent", number))
    assert Store(state).intent() == make.INTENT


@pytest.mark.parametrize("number", both("history"))
def test_a_history_is_read_and_goes_on(state: Path, number: int) -> None:
    """Both formats tell all records; a record of today continues the chain of either."""
    (state / "history.jsonl").write_bytes(make.read("history", number))
    history = Store(state).history
    told = [replace(entry, number=0, previous="", cut=0) for entry in history]
    # Format 1 is of before there were signatures.
    unsigned: dict[str, Any] = {"signed_by": "", "signed_key": "", "compiled": 0} if number == 1 else {}
    assert told == [replace(entry, **unsigned) for entry in make.RECORDS]
    history.append(Entry(1_900_000_000, "unload", DONE, 0))
    assert [entry.number for entry in history] == [1, 2, 3, 4, 5]
    assert faults(state) == []


def faults(state: Path) -> list[str]:
    """Return what is wrong with the chain of a history."""
    *_, result = check(Store(state).history.chain())
    assert isinstance(result, Checked)
    # The fixture's record of what was forgotten names hashes that nothing had.
    return [one.what for one in result.faults if "when older ones were forgotten" not in one.what]


@pytest.mark.parametrize("number", both("accepted"))
def test_what_was_accepted_is_read(state: Path, number: int) -> None:
    """A host that demands signatures knows what it has accepted, and how new that was."""
    (state / "accepted.json").write_bytes(make.read("accepted", number))
    assert Store(state).accepted.read() == make.ACCEPTED


@pytest.mark.parametrize("number", both("exemptions"))
def test_exemptions_are_read(state: Path, number: int) -> None:
    """Both formats say who is exempt."""
    (state / "exemptions.json").write_bytes(make.read("exemptions", number))
    assert Store(state).exemptions.read() == make.EXEMPTIONS


@pytest.mark.parametrize("number", both("unwritten"))
def test_what_was_not_written_is_read(state: Path, number: int) -> None:
    """An upgrade without a reboot finds what the version before could not write."""
    held = unwritten.Unwritten(state)
    with open(held._name(), "wb") as file:
        file.write(make.read("unwritten", number))
    found = held.read()
    assert (found.intent, found.lines, found.reason) == ({"generation": 3}, ('{"time": 1}',), "full")


@pytest.mark.parametrize("number", both("control"))
def test_messages_are_read(number: int) -> None:
    """A request and an answer are understood."""
    content, found = make.read("control", number), []
    while content:
        size = frame.length(content[:4], frame.MAX_ANSWER)
        found.append(frame.decode(content[4 : 4 + size]))
        content = content[4 + size :]
    assert [one["v"] for one in found] == [number, number]
    assert found[1] == {"v": number, **make.ANSWER}


def newer(name: str, **more: object) -> bytes:
    """Return a fixture as a newer geodrop may write it: another number, and what this one does not know."""
    number = make.MADE[name][0]
    lines = make.read(name, number).splitlines()
    changed = [json.loads(line) | {"format": number + 1, "plans": [1]} | more for line in lines]
    return b"".join(json.dumps(one).encode() + b"\n" for one in changed)


def test_a_newer_intent_is_left_alone(state: Path) -> None:
    """A boot knows enough of it. What is asked for by people is kept until the next boot; the file stays as it is."""
    file, content = state / "intent.json", newer("intent", rolled_back="by a plan")
    file.write_bytes(content)
    store = Store(state)
    found = store.intent()
    assert (found.last_good, found.paused, found.newer) == (make.B, make.INTENT.paused, formats.INTENT.number + 1)
    [problem] = store.problems()[:1]
    assert problem.startswith(f"{file}: written by a newer geodrop, format {formats.INTENT.number + 1}: ")
    assert f"; next: {formats.UPGRADE}, or go on without the file: mv {file} " in problem
    with pytest.raises(NewerError, match="written by a newer geodrop"):
        store.remember(Intent(10))
    store.note(replace(found, generation=10))
    assert store.unwritten() == ()
    store.note(Intent(11, make.A, unloaded=True))
    assert store.intent() == Intent(11, make.A, unloaded=True)
    [said] = store.unwritten()
    assert "what was asked for last will be known until the next boot and no longer" in said
    assert said.endswith(f": {formats.UPGRADE}")
    with pytest.raises(DataError):
        store.write_back()
    store.prune(Keep(1), set())
    assert file.read_bytes() == content
    file.rename(state / "aside")
    store.write_back()
    assert (store.unwritten(), store.intent()) == ((), Intent(11, make.A, unloaded=True))


def test_nothing_is_forgotten_beside_a_newer_intent(state: Path) -> None:
    """It may need rulesets that this version would remove."""
    (state / "intent.json").write_bytes(newer("intent"))
    store = Store(state)
    store.keep_bytes(b"x", "d1")
    store.prune(Keep(-1, 0, 0), set())
    assert store.ruleset_path("d1").exists()
    (state / "intent.json").unlink()
    store.prune(Keep(-1, 0, 0), set())
    assert not store.ruleset_path("d1").exists()


def test_newer_records_stay_and_the_chain_goes_on(state: Path) -> None:
    """Records of a newer geodrop are shown as such, nothing is forgotten beside them, and what follows is chained."""
    file, content = state / "history.jsonl", b"".join(chained(newer("history").splitlines()))
    file.write_bytes(content)
    history = Store(state).history
    assert {(one.origin, one.put_in_force, one.ends) for one in history} == {("newer", False, False)}
    assert (history.newer(), history.unreadable()) == (formats.HISTORY.number + 1, 0)
    [problem] = history.problems()
    assert problem.startswith(f"{file}: has records written by a newer geodrop, format {formats.HISTORY.number + 1}: ")
    history.append(Entry(1_900_000_000, "unload", DONE, 0))
    history.prune(1, set(), 1)
    assert file.read_bytes().startswith(content)
    assert [one.number for one in history] == [1, 2, 3, 4, 5]
    assert faults(state) == []
    assert Store(state).intent().unknown, "an intent that is missing cannot be recovered from half a history"


def chained(lines: list[bytes]) -> Iterator[bytes]:
    """Link lines as their writer does."""
    before = ""
    for line in lines:
        content = json.loads(line) | ({"previous": before} if before else {})
        linked = json.dumps(content).encode()
        before = hashlib.sha256(linked).hexdigest()
        yield linked + b"\n"


def test_newer_exemptions_are_left_alone(state: Path) -> None:
    """They cannot be read, which is told; the file is not written over."""
    file, content = state / "exemptions.json", newer("exemptions")
    file.write_bytes(content)
    exemptions = Store(state).exemptions
    assert exemptions.read() is None
    [problem] = exemptions.problems(ClockReading.now())
    assert problem.startswith(f"{file}: written by a newer geodrop, format {formats.EXEMPTIONS.number + 1}, so ")
    exemptions.note(make.EXEMPTIONS)
    assert file.read_bytes() == content


def test_what_a_newer_geodrop_accepted_is_left_alone(state: Path) -> None:
    """It cannot be read, which is told; nothing new is accepted, and the file is not written over."""
    file, content = state / "accepted.json", newer("accepted")
    file.write_bytes(content)
    accepted = Store(state).accepted
    for use in (accepted.read, lambda: accepted.write(make.ACCEPTED)):
        with pytest.raises(NewerError):
            use()
    [problem] = accepted.problems()
    assert problem.startswith(f"{file}: written by a newer geodrop, format {formats.ACCEPTED.number + 1}")
    assert file.read_bytes() == content


def test_what_a_newer_geodrop_could_not_write_is_left_alone(state: Path) -> None:
    """It waits in /run for that version; what this one cannot write meanwhile is known to its process alone."""
    held = unwritten.Unwritten(state)
    content = newer("unwritten")
    with open(held._name(), "wb") as file:
        file.write(content)
    assert held.intent() is None
    assert f"written by a newer geodrop, format {formats.UNWRITTEN.number + 1}, and not read" in held.warnings()[0]
    held.hold(NewerError("x", formats.UPGRADE), intent={"generation": 4})
    assert held.intent() == {"generation": 4}
    assert "until this process ends" in held.warnings()[0]
    held.done(intent=True)
    assert held.intent() is None
    with open(held._name(), "rb") as file:
        assert file.read() == content
